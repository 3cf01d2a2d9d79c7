// A hop of a chain on the JDK's HttpServer: java Service PORT NEXT_PORT CLIENT
// CLIENT: url (HttpURLConnection), http (java.net.http). What a path means stands in xtask/src/truth/path.rs.

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

public class Service {
    private static String next;
    private static String client;
    private static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static final ExecutorService WORKERS = Executors.newFixedThreadPool(8);
    private static volatile long until;
    private static volatile String[] row;

    public static void main(String[] arguments) throws IOException {
        next = "http://127.0.0.1:" + arguments[1];
        client = arguments[2];
        var timer = Executors.newSingleThreadScheduledExecutor();
        var number = new int[1];
        timer.scheduleWithFixedDelay(() -> {
            if (System.nanoTime() < until) {
                number[0] += 1;
                String tag = row[1] + ".tick" + ProcessHandle.current().pid() + "-" + number[0] + ".0";
                fetch(row[0], "/" + row[0] + "/direct/" + tag + "/0");
            }
        }, 5, 5, TimeUnit.MILLISECONDS);
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 1024);
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.createContext("/", Service::serve);
        server.start();
    }

    private static void fetch(String connections, String path) {
        boolean close = connections.equals("fresh");
        try {
            if (client.equals("http")) {
                var request = HttpRequest.newBuilder(URI.create(next + path));
                if (close) {
                    request.header("Connection", "close");
                }
                HTTP.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
            } else {
                var connection = (HttpURLConnection) new URL(next + path).openConnection();
                if (close) {
                    connection.setRequestProperty("Connection", "close");
                }
                try (var body = connection.getInputStream()) {
                    body.readAllBytes();
                }
            }
        } catch (IOException | InterruptedException error) {
            error.printStackTrace();
        }
    }

    private static void serve(HttpExchange exchange) throws IOException {
        String[] words = exchange.getRequestURI().getPath().split("/");
        String connections = words[1], tag = words[3], hop = words[4];
        String[] modes = words[2].split("-", 2);
        String rest = modes.length > 1 ? modes[1] : "direct";
        String to = "/" + connections + "/" + rest + "/" + tag + "/" + hop + ".";
        Runnable first = () -> fetch(connections, to + 0);
        Runnable second = () -> fetch(connections, to + 1);
        Runnable afterwards = () -> {};
        switch (modes[0]) {
            case "after" -> afterwards = () -> fetch(connections, "/" + connections + "/direct/" + tag + "~" + hop + "/0");
            case "twice" -> {
                first.run();
                second.run();
            }
            case "parallel" -> {
                var one = CompletableFuture.runAsync(first, WORKERS);
                var other = CompletableFuture.runAsync(second, WORKERS);
                CompletableFuture.allOf(one, other).join();
            }
            case "handoff" -> CompletableFuture.runAsync(first, WORKERS).join();
            case "thread" -> {
                var thread = new Thread(first);
                thread.start();
                try {
                    thread.join();
                } catch (InterruptedException error) {
                    error.printStackTrace();
                }
            }
            case "sleep" -> {
                try {
                    Thread.sleep(ThreadLocalRandom.current().nextInt(20));
                } catch (InterruptedException error) {
                    error.printStackTrace();
                }
                first.run();
            }
            case "timer" -> {
                row = new String[] {connections, tag.split("\\.")[0]};
                until = System.nanoTime() + 100_000_000L;
                first.run();
            }
            default -> first.run();
        }
        // HttpServer closes when it is asked to, and does not say so; HttpURLConnection would use the connection again.
        if ("close".equals(exchange.getRequestHeaders().getFirst("Connection"))) {
            exchange.getResponseHeaders().set("Connection", "close");
        }
        exchange.sendResponseHeaders(200, 3);
        exchange.getResponseBody().write("ok\n".getBytes());
        exchange.close();
        afterwards.run();
    }
}
