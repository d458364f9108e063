import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Has calls inside a server, or results that nobody reads on, until its standard input ends.
 *
 * <p>Arguments: URL, user, password, how many connections, how long to wait for their first rows at most (s), SQL. Says READY
 * when each has read one row of its result, or that time is over.
 */
public final class Holder {
    public static void main(String[] arguments) throws Exception {
        String url = arguments[0], sql = arguments[5];
        int connections = Integer.parseInt(arguments[3]);
        DriverManager.getConnection(url, arguments[1], arguments[2]).close(); // alone: it has the pool built
        CountDownLatch read = new CountDownLatch(connections);
        List<Object> held = new ArrayList<>();
        for (int i = 0; i < connections; i++) {
            Thread thread = new Thread(() -> {
                try {
                    Connection connection = DriverManager.getConnection(url, arguments[1], arguments[2]);
                    ResultSet rows = connection.prepareStatement(sql).executeQuery();
                    rows.next();
                    synchronized (held) {
                        held.add(List.of(connection, rows));
                    }
                    read.countDown();
                } catch (Throwable problem) { // the driver also throws unchecked exceptions
                    System.err.println(problem);
                }
            });
            thread.setDaemon(true);
            thread.start();
        }
        boolean all = read.await(Long.parseLong(arguments[4]), TimeUnit.SECONDS);
        System.out.println("READY");
        System.err.println((all ? "all" : connections - read.getCount()) + " have read a row");
        while (System.in.read() >= 0) {
            // Until it ends.
        }
        Runtime.getRuntime().halt(0);
    }
}
