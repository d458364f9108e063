import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import com.zaxxer.hikari.HikariPoolMXBean;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.Driver;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * Plays a recorded arrival trace through JDBC, open loop: a unit is due at its instant whatever became of those before.
 *
 * <p>Arguments are pairs "--name value"; see {@code main}. The trace has one line per statement, in order of units:
 * unit,due_s,transaction,text,write,sleep_s,think_s (text -1: the unit only connects and closes), and perhaps jvm and
 * numbers: what the text is given instead of its sleep, whole numbers with semicolons between them. It warms up, prints
 * READY, reads the wall-clock instant of time zero (ms) from standard input, and writes one row per unit.
 */
public final class LoadGenerator {
    private record Statement(int text, boolean write, double sleepS, long thinkNs, int[] numbers) {}

    private static final class Unit {
        final double dueS;
        final boolean transaction;
        final List<Statement> statements = new ArrayList<>();
        volatile long startedNs = -1, connectedNs = -1, endedNs = -1, thoughtNs = 0;
        volatile String error = "unfinished";

        Unit(double dueS, boolean transaction) {
            this.dueS = dueS;
            this.transaction = transaction;
        }
    }

    /** Where connections come from: DriverManager (the OJP driver or PostgreSQL's own), or a HikariCP in this process. */
    private interface Source {
        Connection connect() throws SQLException;
    }

    private final List<Unit> units = new ArrayList<>();
    private final List<String> texts;
    private final Source source;
    private double[] warmSleepsS; // of each text while warming up
    private long zeroNs;

    private LoadGenerator(List<String> texts, Source source) {
        this.texts = texts;
        this.warmSleepsS = new double[texts.size()];
        Arrays.fill(warmSleepsS, 0.001);
        this.source = source;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            options.put(arguments[i], arguments[i + 1]);
        }
        String url = options.get("--url"), user = options.get("--user"), password = options.get("--password");
        if (options.containsKey("--driver-jar")) {
            playMany(options, url, user, password);
        }
        HikariDataSource pool = null;
        Source source = () -> DriverManager.getConnection(url, user, password);
        if (options.containsKey("--pool")) {
            // maximum, minimum idle, connection time-out in ms; the rest as OJP 0.3.1-beta sets it.
            String[] sizes = options.get("--pool").split(",");
            HikariConfig config = new HikariConfig();
            config.setJdbcUrl(url);
            config.setUsername(user);
            config.setPassword(password);
            config.setMaximumPoolSize(Integer.parseInt(sizes[0]));
            config.setMinimumIdle(Integer.parseInt(sizes[1]));
            config.setConnectionTimeout(Long.parseLong(sizes[2]));
            config.setIdleTimeout(600_000);
            config.setMaxLifetime(1_800_000);
            config.setValidationTimeout(5_000);
            config.setInitializationFailTimeout(10_000);
            config.addDataSourceProperty("cachePrepStmts", "true");
            config.addDataSourceProperty("prepStmtCacheSize", "250");
            config.addDataSourceProperty("prepStmtCacheSqlLimit", "2048");
            pool = new HikariDataSource(config);
            source = pool::getConnection;
        }
        LoadGenerator generator =
                new LoadGenerator(Files.readAllLines(Path.of(options.get("--texts"))), source);
        generator.read(Path.of(options.get("--trace")));
        if (options.containsKey("--warm-sleeps")) {
            generator.warmSleepsS = Arrays.stream(options.get("--warm-sleeps").split(",")).mapToDouble(Double::parseDouble).toArray();
        }
        try {
            if (options.containsKey("--grow")) {
                generator.grow(Integer.parseInt(options.get("--grow")));
            }
            String warmUrl = options.getOrDefault("--warm-url", url); // warm this process, and not the server of the trace
            generator.warmUp(
                    warmUrl.equals(url) ? source : () -> DriverManager.getConnection(warmUrl, user, password),
                    Integer.parseInt(options.getOrDefault("--warm", "0")),
                    Double.parseDouble(options.getOrDefault("--settle", "0")),
                    Integer.parseInt(options.getOrDefault("--settle-threads", "4")));
        } catch (Exception problem) {
            problem.printStackTrace();
            Runtime.getRuntime().halt(1); // its threads would keep the process
        }
        // Its threads are there before the first unit is due: to start one takes as long as a call.
        ThreadPoolExecutor workers = (ThreadPoolExecutor) Executors.newFixedThreadPool(Integer.parseInt(options.get("--threads")));
        workers.prestartAllCoreThreads();
        System.out.println("READY");
        long zeroMs = Long.parseLong(new BufferedReader(new InputStreamReader(System.in)).readLine().trim());
        generator.zeroNs = System.nanoTime() + (zeroMs - System.currentTimeMillis()) * 1_000_000L;
        if (pool != null) {
            generator.watch(pool, options);
        }
        generator.play(workers, Double.parseDouble(options.get("--until")));
        generator.write(Path.of(options.get("--out")));
        Runtime.getRuntime().halt(0); // threads that hang in a driver must not keep the process
    }

    /** The driver's classes anew, whose statics are what a JVM knows of the servers; gRPC and all else are the process's. */
    private static final class Jvm extends URLClassLoader {
        Jvm(URL driver) {
            super(new URL[] {driver}, LoadGenerator.class.getClassLoader());
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (!name.startsWith("org.openjproxy.")) {
                return super.loadClass(name, resolve);
            }
            synchronized (getClassLoadingLock(name)) {
                Class<?> known = findLoadedClass(name);
                return known == null ? findClass(name) : known;
            }
        }
    }

    /** As many clients as there are traces ("--trace" and "-0.csv", "-1.csv" ...), each with a driver of its own; ends the process. */
    private static void playMany(Map<String, String> options, String url, String user, String password) throws Exception {
        URL jar = Path.of(options.get("--driver-jar")).toUri().toURL();
        List<String> texts = Files.readAllLines(Path.of(options.get("--texts")));
        Properties who = new Properties();
        who.put("user", user);
        who.put("password", password);
        List<LoadGenerator> clients = new ArrayList<>();
        Set<Class<?>> drivers = new HashSet<>();
        for (Path trace; Files.exists(trace = Path.of(options.get("--trace") + "-" + clients.size() + ".csv")); ) {
            Class<?> type = Class.forName("org.openjproxy.jdbc.Driver", true, new Jvm(jar));
            Driver driver = (Driver) type.getDeclaredConstructor().newInstance();
            drivers.add(type);
            LoadGenerator client = new LoadGenerator(texts, () -> driver.connect(url, who));
            client.read(trace);
            clients.add(client);
        }
        if (drivers.size() != clients.size()) {
            throw new IllegalStateException("clients share a driver");
        }
        double settleS = Double.parseDouble(options.get("--settle")), eachS = Double.parseDouble(options.get("--each"));
        try {
            // The first one warms the servers up; then each meets them, one after the other.
            int warm = Integer.parseInt(options.get("--warm"));
            for (LoadGenerator client : clients) {
                boolean first = client == clients.get(0);
                client.warmUp(client.source, first ? warm : 1, first ? settleS : eachS, first ? warm : 1);
            }
        } catch (Exception problem) {
            problem.printStackTrace();
            Runtime.getRuntime().halt(1);
        }
        int threads = Integer.parseInt(options.get("--threads"));
        List<ThreadPoolExecutor> workers = new ArrayList<>();
        for (int i = 0; i < clients.size(); i++) {
            workers.add((ThreadPoolExecutor) Executors.newFixedThreadPool(threads));
            workers.get(i).prestartAllCoreThreads();
        }
        System.out.println("READY");
        long zeroMs = Long.parseLong(new BufferedReader(new InputStreamReader(System.in)).readLine().trim());
        long zeroNs = System.nanoTime() + (zeroMs - System.currentTimeMillis()) * 1_000_000L;
        double untilS = Double.parseDouble(options.get("--until"));
        List<Thread> players = new ArrayList<>();
        for (int i = 0; i < clients.size(); i++) {
            LoadGenerator client = clients.get(i);
            ThreadPoolExecutor mine = workers.get(i);
            client.zeroNs = zeroNs;
            players.add(new Thread(() -> {
                try {
                    client.play(mine, untilS);
                } catch (InterruptedException problem) {
                    throw new IllegalStateException(problem);
                }
            }));
            players.get(i).start();
        }
        for (Thread player : players) {
            player.join();
        }
        for (int i = 0; i < clients.size(); i++) {
            clients.get(i).write(Path.of(options.get("--out") + "-" + i + ".csv"));
        }
        Runtime.getRuntime().halt(0);
    }

    private void read(Path trace) throws IOException {
        int last = -1;
        for (String line : Files.readAllLines(trace).subList(1, (int) Files.lines(trace).count())) {
            String[] f = line.split(",");
            int unit = Integer.parseInt(f[0]);
            if (unit != last) {
                units.add(new Unit(Double.parseDouble(f[1]), f[2].equals("1")));
                last = unit;
            }
            int text = Integer.parseInt(f[3]);
            if (text >= 0) {
                long thinkNs = (long) (Double.parseDouble(f[6]) * 1e9);
                int[] numbers = f.length > 8 ? Arrays.stream(f[8].split(";")).mapToInt(Integer::parseInt).toArray() : null;
                units.get(units.size() - 1).statements.add(
                        new Statement(text, f[4].equals("1"), Double.parseDouble(f[5]), thinkNs, numbers));
            }
        }
    }

    /** Opens that many connections at once and runs every text on them, so that pools are full and code is compiled. */
    private void warmUp(Source source, int connections, double settleS, int settleThreads) throws Exception {
        if (connections == 0) {
            return;
        }
        runAll(source); // alone, since every first caller that comes at once makes OJP's server build a pool
        ExecutorService workers = Executors.newFixedThreadPool(connections);
        for (int round = 0; round < 5; round++) {
            CountDownLatch allOpen = new CountDownLatch(connections);
            List<java.util.concurrent.Future<?>> done = new ArrayList<>();
            for (int i = 0; i < connections; i++) {
                done.add(workers.submit(() -> {
                    try (Connection connection = source.connect()) {
                        for (int text = 0; text < texts.size(); text++) {
                            execute(connection, new Statement(text, !texts.get(text).startsWith("select"), warmSleepsS[text], 0, null));
                        }
                        allOpen.countDown();
                        allOpen.await(20, TimeUnit.SECONDS);
                    }
                    return null;
                }));
            }
            for (java.util.concurrent.Future<?> future : done) {
                future.get(30, TimeUnit.SECONDS);
            }
        }
        long untilNs = System.nanoTime() + (long) (settleS * 1e9);
        List<java.util.concurrent.Future<?>> settling = new ArrayList<>();
        for (int i = 0; i < Math.min(settleThreads, connections); i++) {
            settling.add(workers.submit(() -> {
                while (System.nanoTime() < untilNs) {
                    runAll(source);
                }
                return null;
            }));
        }
        for (java.util.concurrent.Future<?> future : settling) {
            future.get();
        }
        workers.shutdown();
    }

    /** One connection after the other, each in a transaction, since later servers wait 250 ms for a pool to grow and then fail. */
    private void grow(int connections) throws Exception {
        List<Connection> open = new ArrayList<>();
        for (int tries = 0; open.size() < connections; ) {
            Connection connection = source.connect();
            try {
                connection.setAutoCommit(false);
                for (int text = 0; text < texts.size(); text++) {
                    execute(connection, new Statement(text, !texts.get(text).startsWith("select"), warmSleepsS[text], 0, null));
                }
                open.add(connection);
                tries = 0;
            } catch (SQLException problem) {
                connection.close();
                if (++tries == 3) {
                    throw problem;
                }
                Thread.sleep(1000);
            }
        }
        for (Connection connection : open) {
            connection.commit();
            connection.close();
        }
    }

    private void runAll(Source source) throws SQLException {
        try (Connection connection = source.connect()) {
            for (int text = 0; text < texts.size(); text++) {
                execute(connection, new Statement(text, !texts.get(text).startsWith("select"), warmSleepsS[text], 0, null));
            }
        }
    }

    private void play(ExecutorService workers, double untilS) throws InterruptedException {
        for (Unit unit : units) {
            waitUntil(zeroNs + (long) (unit.dueS * 1e9));
            workers.execute(() -> run(unit));
        }
        workers.shutdown();
        workers.awaitTermination(zeroNs + (long) (untilS * 1e9) - System.nanoTime(), TimeUnit.NANOSECONDS);
    }

    private static void waitUntil(long instantNs) {
        long left;
        while ((left = instantNs - System.nanoTime()) > 0) {
            LockSupport.parkNanos(left);
        }
    }

    private void run(Unit unit) {
        unit.startedNs = System.nanoTime();
        String error = "";
        // Not try-with-resources: an error of a statement must not hide behind one of close().
        Connection connection = null;
        try {
            connection = source.connect();
            unit.connectedNs = System.nanoTime();
            if (unit.transaction) {
                connection.setAutoCommit(false);
            }
            for (Statement statement : unit.statements) {
                execute(connection, statement);
                if (statement.thinkNs > 0) {
                    long from = System.nanoTime();
                    waitUntil(from + statement.thinkNs);
                    unit.thoughtNs += System.nanoTime() - from;
                }
            }
            if (unit.transaction) {
                connection.commit();
            }
        } catch (Throwable problem) { // the driver also throws unchecked exceptions
            error = describe(problem);
        }
        if (connection != null) {
            try {
                connection.close();
            } catch (Throwable problem) {
                error = error.isEmpty() ? "close: " + describe(problem) : error;
            }
        }
        unit.error = error;
        unit.endedNs = System.nanoTime();
    }

    private void execute(Connection connection, Statement statement) throws SQLException {
        try (PreparedStatement prepared = connection.prepareStatement(texts.get(statement.text))) {
            if (statement.numbers == null) {
                prepared.setDouble(1, statement.sleepS);
            } else {
                for (int i = 0; i < statement.numbers.length; i++) {
                    prepared.setInt(i + 1, statement.numbers[i]);
                }
            }
            if (statement.write) {
                prepared.executeUpdate();
            } else {
                try (ResultSet rows = prepared.executeQuery()) {
                    while (rows.next()) {
                        rows.getString(1);
                    }
                }
            }
        }
    }

    private static String describe(Throwable problem) {
        String message = String.valueOf(problem.getMessage()).replaceAll("[^A-Za-z0-9 .:()_-]+", " ");
        return problem.getClass().getSimpleName() + " " + message.substring(0, Math.min(90, message.length()));
    }

    /** Records every change of the pool's (total, active, idle, pending), and resizes it as OJP does on a new view. */
    private void watch(HikariDataSource pool, Map<String, String> options) {
        HikariPoolMXBean gauge = pool.getHikariPoolMXBean();
        String[] resizes = options.getOrDefault("--resizes", "").split(";"); // at_s,maximum,minimum idle
        Thread watcher = new Thread(() -> {
            int next = 0;
            String last = "";
            try (PrintWriter out = new PrintWriter(options.get("--gauge"), StandardCharsets.UTF_8)) {
                out.println("at_s,total,active,idle,pending");
                while (true) {
                    double nowS = (System.nanoTime() - zeroNs) / 1e9;
                    if (next < resizes.length && !resizes[next].isEmpty()) {
                        String[] f = resizes[next].split(",");
                        if (nowS >= Double.parseDouble(f[0])) {
                            resize(pool, Integer.parseInt(f[1]), Integer.parseInt(f[2]));
                            next++;
                        }
                    }
                    String now = gauge.getTotalConnections() + "," + gauge.getActiveConnections() + ","
                            + gauge.getIdleConnections() + "," + gauge.getThreadsAwaitingConnection();
                    if (!now.equals(last)) {
                        out.printf(java.util.Locale.ROOT, "%.4f,%s%n", nowS, now);
                        out.flush();
                        last = now;
                    }
                    LockSupport.parkNanos(1_000_000);
                }
            } catch (IOException problem) {
                problem.printStackTrace();
            }
        });
        watcher.setDaemon(true);
        watcher.start();
    }

    private static void resize(HikariDataSource pool, int maximum, int minimumIdle) {
        boolean shrinks = maximum < pool.getMaximumPoolSize() || minimumIdle < pool.getMinimumIdle();
        if (shrinks) {
            pool.setMinimumIdle(minimumIdle);
            pool.setMaximumPoolSize(maximum);
            pool.getHikariPoolMXBean().softEvictConnections();
        } else {
            pool.setMaximumPoolSize(maximum);
            pool.setMinimumIdle(minimumIdle);
        }
    }

    private void write(Path out) throws IOException {
        try (PrintWriter rows = new PrintWriter(Files.newBufferedWriter(out))) {
            rows.println("unit,due_s,started_s,connected_s,ended_s,thought_s,error");
            for (int i = 0; i < units.size(); i++) {
                Unit unit = units.get(i);
                rows.printf(java.util.Locale.ROOT, "%d,%.6f,%s,%s,%s,%.6f,%s%n", i, unit.dueS, at(unit.startedNs),
                        at(unit.connectedNs), at(unit.endedNs), unit.thoughtNs / 1e9, unit.error);
            }
        }
    }

    private String at(long instantNs) {
        return instantNs < 0 ? "" : String.format(java.util.Locale.ROOT, "%.6f", (instantNs - zeroNs) / 1e9);
    }
}
