import com.openjproxy.grpc.ConnectionDetails;
import com.openjproxy.grpc.OpResult;
import com.openjproxy.grpc.SessionInfo;
import com.openjproxy.grpc.StatementRequest;
import com.openjproxy.grpc.StatementServiceGrpc;
import io.grpc.ManagedChannelBuilder;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;

/**
 * Sends plain asynchronous calls to an OJP server, by the stubs of its own driver, in phases that standard input names.
 *
 * <p>Arguments: port, database (host:port/name), user, password, channels. It plays one unit alone and prints READY. Each
 * line of input is a phase: mixes (joined by "+", played in turn), units per second (Poisson; 0: closed loop), most units
 * under way, seconds to settle, seconds to count, seed, channels to use. A unit that is due while the most are under way is
 * skipped. It prints BEGIN and END at the ends of the counted time, then one line of JSON with what was answered in it.
 */
public final class CallLoad {
    private static final long DRAIN_S = 20; // more than the 10 s for which a server lets a call wait for a connection
    private static final int MOST_KINDS = 20; // of failures that are told apart

    private record Step(String method, String sql) {}

    private record Phase(
            List<List<Step>> mixes, double unitsPerS, int outstanding, double settleS, double countedS, long seed, int channels) {}

    private record Channel(StatementServiceGrpc.StatementServiceStub stub, ConnectionDetails details) {}

    private static final Step CONNECT = new Step("connect", ""), START = new Step("startTransaction", "");
    private static final Step COMMIT = new Step("commitTransaction", ""), TERMINATE = new Step("terminateSession", "");
    private static final Step QUERY = new Step("executeQuery", "select 1");
    private static final Step UPDATE = new Step("executeUpdate", "insert into sink values (1)");

    private final List<Channel> channels = new ArrayList<>();
    private final Map<String, LongAdder> counters = new TreeMap<>();
    private final Map<String, LongAdder> failures = new ConcurrentHashMap<>();

    private CallLoad(int port, String database, String user, String password, int number) {
        for (int i = 0; i < number; i++) {
            // Answers are handled on the threads that read them: less CPU for this process.
            var channel = ManagedChannelBuilder.forAddress("localhost", port).usePlaintext().directExecutor().build();
            ConnectionDetails details = ConnectionDetails.newBuilder()
                    .setUrl("jdbc:ojp[localhost:" + port + "]_postgresql://" + database)
                    .setUser(user)
                    .setPassword(password)
                    .setClientUUID(UUID.randomUUID().toString())
                    .build();
            channels.add(new Channel(StatementServiceGrpc.newStub(channel), details));
        }
        for (Step step : List.of(CONNECT, QUERY, UPDATE, START, COMMIT, TERMINATE)) {
            counters.put(step.method(), new LongAdder());
        }
        for (String name : List.of("units", "failed", "skipped", "rows", "due", "late_ns")) {
            counters.put(name, new LongAdder());
        }
    }

    public static void main(String[] arguments) {
        try {
            CallLoad load = new CallLoad(
                    Integer.parseInt(arguments[0]), arguments[1], arguments[2], arguments[3], Integer.parseInt(arguments[4]));
            load.playAlone();
            System.out.println("READY");
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                load.play(phase(line.split(" ")));
            }
        } catch (IOException | InterruptedException | RuntimeException problem) {
            problem.printStackTrace();
            Runtime.getRuntime().halt(1); // threads of channels would keep the process
        }
        Runtime.getRuntime().halt(0);
    }

    private static Phase phase(String[] words) {
        List<List<Step>> mixes = new ArrayList<>();
        for (String name : words[0].split("\\+")) {
            mixes.add(steps(name));
        }
        return new Phase(
                mixes,
                Double.parseDouble(words[1]),
                Integer.parseInt(words[2]),
                Double.parseDouble(words[3]),
                Double.parseDouble(words[4]),
                Long.parseLong(words[5]),
                Integer.parseInt(words[6]));
    }

    private static List<Step> steps(String mix) {
        if (mix.startsWith("rows-")) {
            int rows = Integer.parseInt(mix.substring("rows-".length()));
            return List.of(CONNECT, new Step("executeQuery", "select * from generate_series(1, " + rows + ")"), TERMINATE);
        }
        return switch (mix) {
            case "connect" -> List.of(CONNECT);
            case "connect-terminate" -> List.of(CONNECT, TERMINATE);
            case "query" -> List.of(CONNECT, QUERY, TERMINATE);
            case "transaction" -> List.of(CONNECT, START, QUERY, UPDATE, COMMIT, TERMINATE);
            default -> throw new IllegalArgumentException("no such mix: " + mix);
        };
    }

    /** The first unit on each channel, one after the other: first connects that come at once build a pool each. */
    private void playAlone() throws InterruptedException {
        for (Channel channel : channels) {
            Semaphore free = new Semaphore(0);
            new Unit(channel, steps("query"), free).go();
            if (!free.tryAcquire(DRAIN_S, TimeUnit.SECONDS) || counters.get("failed").sum() > 0) {
                throw new IllegalStateException("the first unit failed: " + failures);
            }
        }
    }

    private void play(Phase phase) throws InterruptedException {
        failures.clear();
        Semaphore free = new Semaphore(phase.outstanding());
        long beginNs = System.nanoTime() + (long) (phase.settleS() * 1e9);
        long endNs = beginNs + (long) (phase.countedS() * 1e9);
        Thread sender = new Thread(() -> send(phase, free, endNs));
        sender.start();
        waitUntil(beginNs);
        System.out.println("BEGIN");
        long begunNs = System.nanoTime();
        Map<String, Long> before = counted();
        waitUntil(endNs);
        System.out.println("END");
        double seconds = (System.nanoTime() - begunNs) / 1e9;
        Map<String, Long> after = counted();
        sender.join();
        if (!free.tryAcquire(phase.outstanding(), DRAIN_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException("calls without an answer after " + DRAIN_S + " s");
        }
        System.out.println(json(seconds, before, after));
    }

    private Map<String, Long> counted() {
        Map<String, Long> found = new TreeMap<>();
        counters.forEach((name, counter) -> found.put(name, counter.sum()));
        return found;
    }

    private String json(double seconds, Map<String, Long> before, Map<String, Long> after) {
        List<String> parts = new ArrayList<>();
        parts.add(String.format(Locale.ROOT, "\"seconds\": %.6f", seconds));
        after.forEach((name, count) -> parts.add("\"" + name + "\": " + (count - before.get(name))));
        List<String> kinds = new ArrayList<>();
        failures.forEach((kind, count) -> kinds.add("\"" + kind + "\": " + count.sum()));
        parts.add("\"failures\": {" + String.join(", ", kinds) + "}");
        return "{" + String.join(", ", parts) + "}";
    }

    /** Starts units until the end of the phase. */
    private void send(Phase phase, Semaphore free, long endNs) {
        Random random = new Random(phase.seed());
        double dueNs = System.nanoTime();
        for (int number = 0; ; number++) {
            if (phase.unitsPerS() > 0) {
                dueNs -= Math.log(1.0 - random.nextDouble()) / phase.unitsPerS() * 1e9;
                waitUntil(Math.min((long) dueNs, endNs));
            }
            long nowNs = System.nanoTime();
            if (nowNs >= endNs) {
                return;
            }
            if (phase.unitsPerS() > 0) {
                counters.get("due").increment();
                counters.get("late_ns").add(nowNs - (long) dueNs);
            }
            if (mayStart(phase, free, endNs - nowNs)) {
                List<Step> steps = phase.mixes().get(number % phase.mixes().size());
                new Unit(channels.get(number % phase.channels()), steps, free).go();
            }
        }
    }

    /** Whether another unit may be under way. Open loop: at once or never; closed loop: it waits for one to end. */
    private boolean mayStart(Phase phase, Semaphore free, long longestNs) {
        if (phase.unitsPerS() > 0) {
            boolean may = free.tryAcquire();
            counters.get("skipped").add(may ? 0 : 1);
            return may;
        }
        try {
            return free.tryAcquire(longestNs, TimeUnit.NANOSECONDS);
        } catch (InterruptedException problem) {
            throw new IllegalStateException(problem);
        }
    }

    private static void waitUntil(long instantNs) {
        long left;
        while ((left = instantNs - System.nanoTime()) > 0) {
            LockSupport.parkNanos(left);
        }
    }

    /** Calls one after the other; each is sent when the one before has been answered. */
    private final class Unit {
        private final Channel channel;
        private final List<Step> steps;
        private final Semaphore free;
        private SessionInfo session = SessionInfo.getDefaultInstance();
        private int next = 0;

        Unit(Channel channel, List<Step> steps, Semaphore free) {
            this.channel = channel;
            this.steps = steps;
            this.free = free;
        }

        void go() {
            if (next == steps.size()) {
                counters.get("units").increment();
                free.release();
                return;
            }
            Step step = steps.get(next++);
            var stub = channel.stub();
            switch (step.method()) {
                case "connect" -> stub.connect(channel.details(), answer(step, this::keep));
                case "executeQuery" -> stub.executeQuery(request(step), answer(step, this::keepResult));
                case "executeUpdate" -> stub.executeUpdate(request(step), answer(step, this::keepResult));
                case "startTransaction" -> stub.startTransaction(session, answer(step, this::keep));
                case "commitTransaction" -> stub.commitTransaction(session, answer(step, this::keep));
                case "terminateSession" -> stub.terminateSession(session, answer(step, status -> {}));
                default -> throw new IllegalStateException(step.method());
            }
        }

        private StatementRequest request(Step step) {
            return StatementRequest.newBuilder().setSession(session).setSql(step.sql()).build();
        }

        private void keep(SessionInfo told) {
            session = told;
        }

        private void keepResult(OpResult result) {
            if (result.hasSession()) {
                session = result.getSession();
            }
            counters.get("rows").add(result.getQueryResult().getRowsCount());
        }

        private <T> StreamObserver<T> answer(Step step, Consumer<T> keep) {
            return new StreamObserver<>() {
                @Override
                public void onNext(T told) {
                    keep.accept(told);
                }

                @Override
                public void onError(Throwable problem) {
                    fail(step, problem);
                }

                @Override
                public void onCompleted() {
                    counters.get(step.method()).increment();
                    go();
                }
            };
        }

        /** A unit that fails still ends its session, which would keep a connection. */
        private void fail(Step step, Throwable problem) {
            counters.get("failed").increment();
            String kind = step.method() + ": " + describe(problem);
            if (failures.size() < MOST_KINDS || failures.containsKey(kind)) {
                failures.computeIfAbsent(kind, name -> new LongAdder()).increment();
            }
            if (session.getSessionUUID().isEmpty() || step == TERMINATE) {
                free.release();
            } else {
                next = steps.size() - 1;
                go();
            }
        }
    }

    private static String describe(Throwable problem) {
        String message = String.valueOf(problem.getMessage()).replaceAll("\\d+", "N").replaceAll("[^A-Za-z0-9 .:()_-]+", " ");
        return message.substring(0, Math.min(90, message.length()));
    }
}
