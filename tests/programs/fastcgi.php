<?php
// What php-fpm answers in the tests: /call/ID asks a service for /id/ID, /status/CODE, /bytes/N, /sleep/MS, /complain, /finish/ID,
// and /echo says how many bytes it was sent.

function ask($path) {
    return file_get_contents('http://127.0.0.1:' . getenv('BACKEND') . $path);
}

$path = strtok($_SERVER['REQUEST_URI'], '?');
[, $what, $id] = explode('/', $path . '/');
header('Content-Type: text/plain');
switch ($what) {
    case 'call':
        if (ask("/bytes/$id") === false) {
            http_response_code(502);
        }
        echo $id;
        break;
    case 'status':
        http_response_code((int) $id);
        break;
    case 'bytes':
        echo str_repeat('x', (int) $id);
        break;
    case 'sleep':
        usleep((int) $id * 1000);
        echo 'slept';
        break;
    case 'complain':
        error_log('this went wrong');
        break;
    case 'finish':
        // Its answer has gone out when it calls.
        echo $id;
        fastcgi_finish_request();
        ask("/bytes/$id");
        break;
    default:
        echo strlen(file_get_contents('php://input'));
}
