import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * The test service on the JDK's own server and TLS: JavaTls.java serve CERTIFICATES PORT, or its client:
 * JavaTls.java get CERTIFICATES URL PATH...
 *
 * CERTIFICATES is a folder with cert.pem and key.pem. The client asks URL for each PATH by GET over one connection, and
 * writes a line for each answer: status, bytes of its body, path.
 */
public class JavaTls {
    public static void main(String[] arguments) throws Exception {
        SSLContext context = context(arguments[1]);
        if (arguments[0].equals("serve")) {
            serve(context, Integer.parseInt(arguments[2]));
            return;
        }
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(context).build();
        for (int at = 3; at < arguments.length; at++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[2] + arguments[at])).build();
            HttpResponse<byte[]> answer = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
            System.out.println(answer.statusCode() + " " + answer.body().length + " " + arguments[at]);
        }
    }

    private static void serve(SSLContext context, int port) throws Exception {
        HttpsServer server = HttpsServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context));
        server.createContext("/", exchange -> {
            exchange.getRequestBody().readAllBytes();
            String path = exchange.getRequestURI().getPath();
            int size = path.startsWith("/bytes/") ? Integer.parseInt(path.substring(7)) : 0;
            exchange.sendResponseHeaders(size > 0 ? 200 : 404, size > 0 ? size : -1);
            exchange.getResponseBody().write(new byte[size]);
            exchange.close();
        });
        server.start();
    }

    private static SSLContext context(String folder) throws Exception {
        Certificate certificate;
        try (InputStream file = Files.newInputStream(Path.of(folder, "cert.pem"))) {
            certificate = CertificateFactory.getInstance("X.509").generateCertificate(file);
        }
        String key = Files.readString(Path.of(folder, "key.pem")).replaceAll("-----[A-Z ]+-----|\\s", "");
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setCertificateEntry("trusted", certificate);
        store.setKeyEntry(
                "own",
                KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(key))),
                new char[0],
                new Certificate[] {certificate});
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(store, new char[0]);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }
}
