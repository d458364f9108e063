import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Has one OJP server build its connection pool and compile its code, by connections one after the other, and holds a port open
 * for as long as that pool stands.
 *
 * <p>Arguments: the server's address, and the port to hold open. Environment: OJP_URL, OJP_USER and OJP_PASSWORD, letter for
 * letter as the application has them, since they are the pool's key; OJP's driver, and the application's ojp.properties,
 * on the class path. OJP_WARM_UP_CALLS: how many calls it makes in all (30000 where nothing is said, 0: one connection only). In
 * this process every server's name in the URL leads to the one address.
 */
public final class WarmUp {
    private static final Pattern SERVERS = Pattern.compile("ojp\\[([^\\]]+)\\]");
    /** A process that ends and starts again is away for longer. */
    private static final long LOOK_MS = 100, AGAIN_MS = 1000;
    /** No server is kept from its clients for longer than that. */
    private static final long MOST_NS = 120_000_000_000L;

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0], url = given("OJP_URL");
        Matcher servers = SERVERS.matcher(url);
        if (!servers.find()) {
            throw new IllegalArgumentException("OJP_URL: no ojp[name:port,...] in it");
        }
        StringBuilder hosts = new StringBuilder();
        for (String server : servers.group(1).split(",")) {
            hosts.append(address).append(' ').append(server.trim().split(":")[0]).append('\n');
        }
        Path file = Files.createTempFile("hosts", "");
        Files.writeString(file, hosts);
        System.setProperty("jdk.net.hosts.file", file.toString()); // before this process looks up its first name
        int port = Integer.parseInt(servers.group(1).split(":")[1].replaceAll("\\D.*", ""));
        InetSocketAddress server = new InetSocketAddress(address, port);
        int calls = Integer.parseInt(System.getenv().getOrDefault("OJP_WARM_UP_CALLS", "30000"));
        while (true) {
            while (!listens(server)) {
                Thread.sleep(LOOK_MS);
            }
            if (!built(url)) {
                Thread.sleep(AGAIN_MS);
                continue;
            }
            warm(url, calls / (servers.group(1).split(",").length + 3)); // a connect to each, query, its close, terminate
            try (ServerSocket open = new ServerSocket(Integer.parseInt(arguments[1]))) {
                accept(open);
                System.out.println("pool stands");
                while (listens(server)) {
                    Thread.sleep(LOOK_MS);
                }
            }
            System.out.println("server is gone");
        }
    }

    private static boolean built(String url) {
        try (Connection connection = DriverManager.getConnection(url, given("OJP_USER"), given("OJP_PASSWORD"));
                Statement statement = connection.createStatement()) {
            statement.executeQuery("select 1").close();
            return true;
        } catch (SQLException | RuntimeException problem) { // the driver also throws unchecked exceptions
            System.out.println("no pool yet: " + problem.getMessage());
            return false;
        }
    }

    private static void warm(String url, int units) {
        long begunNs = System.nanoTime();
        int done = 0;
        while (done < units && System.nanoTime() - begunNs < MOST_NS && built(url)) {
            done++;
        }
        System.out.printf("%d units in %.1f s%n", done, (System.nanoTime() - begunNs) / 1e9);
    }

    private static boolean listens(InetSocketAddress server) {
        try (Socket socket = new Socket()) {
            socket.connect(server, 1000);
            return true;
        } catch (IOException gone) {
            return false;
        }
    }

    /** Whoever asks gets a connection, and nothing else. */
    private static void accept(ServerSocket open) {
        Thread acceptor = new Thread(() -> {
            while (!open.isClosed()) {
                try {
                    open.accept().close();
                } catch (IOException closed) {
                    // The pool's server is gone.
                }
            }
        });
        acceptor.setDaemon(true);
        acceptor.start();
    }

    private static String given(String name) {
        String value = System.getenv(name);
        if (value == null) {
            throw new IllegalArgumentException(name + " is missing");
        }
        return value;
    }
}
