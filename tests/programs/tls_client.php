<?php
// An HTTP client over TLS: tls_client.php LIBRARY CERTIFICATES URL PATH...
//
// LIBRARY: streams (PHP's own, over libssl; a connection each), curl (its extension, one connection).
// The rest is as in tls_client.py.
[, $library, $certificates, $url] = $argv;
$paths = array_slice($argv, 4);
$curl = $library === 'curl' ? curl_init() : null;
foreach ($paths as $path) {
    $body = str_starts_with($path, '/echo/') ? str_repeat('y', (int) basename($path)) : null;
    if ($curl) {
        curl_setopt_array($curl, [
            CURLOPT_URL => $url . $path,
            CURLOPT_CAINFO => "$certificates/cert.pem",
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1,
            CURLOPT_HTTPGET => $body === null,
        ] + ($body === null ? [] : [CURLOPT_POST => true, CURLOPT_POSTFIELDS => $body, CURLOPT_HTTPHEADER => ['Expect:']]));
        $answer = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
    } else {
        $context = stream_context_create([
            'http' => [
                'method' => $body === null ? 'GET' : 'POST',
                'content' => $body ?? '',
                'header' => $body === null ? [] : ['Content-Type: application/octet-stream'],
                'protocol_version' => 1.1,
                'ignore_errors' => true,
            ],
            'ssl' => ['cafile' => "$certificates/cert.pem"],
        ]);
        $answer = file_get_contents($url . $path, false, $context);
        $status = explode(' ', $http_response_header[0] ?? ' 0')[1];
    }
    if ($answer === false) {
        exit(1);
    }
    echo $status, ' ', strlen($answer), ' ', $path, "\n";
}
