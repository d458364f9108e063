import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Properties;

/**
 * Opens connections to PostgreSQL one after the other in a new process, as the adder of a server's pool does.
 *
 * <p>Arguments: URL, user, password, and numbers in ascending order. Writes a line for each number: connections so far, the
 * process's CPU and the time on the clock since the line before, s.
 */
public final class Openings {
    public static void main(String[] arguments) throws Exception {
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        Properties who = new Properties();
        who.put("user", arguments[1]);
        who.put("password", arguments[2]);
        org.postgresql.Driver driver = new org.postgresql.Driver();
        int opened = 0;
        long cpuNs = system.getProcessCpuTime(), clockNs = System.nanoTime();
        for (int i = 3; i < arguments.length; i++) {
            for (; opened < Integer.parseInt(arguments[i]); opened++) {
                driver.connect(arguments[0], who).close(); // not by DriverManager: OJP's driver takes every URL for its own
            }
            long nowCpuNs = system.getProcessCpuTime(), nowNs = System.nanoTime();
            System.out.printf("%d,%.6f,%.6f%n", opened, (nowCpuNs - cpuNs) / 1e9, (nowNs - clockNs) / 1e9);
            cpuNs = nowCpuNs;
            clockNs = nowNs;
        }
    }
}
