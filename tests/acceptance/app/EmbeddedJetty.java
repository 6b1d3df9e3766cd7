import jakarta.servlet.DispatcherType;
import java.net.InetSocketAddress;
import java.util.EnumSet;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.FilterHolder;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.handler.ContextHandlerCollection;
import org.eclipse.jetty.session.DefaultSessionIdManager;
import org.h2.jdbcx.JdbcDataSource;
import org.springframework.core.io.ClassPathResource;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.jdbc.datasource.init.ResourceDatabasePopulator;
import org.springframework.session.jdbc.JdbcIndexedSessionRepository;
import org.springframework.session.web.http.SessionRepositoryFilter;
import org.springframework.transaction.support.TransactionTemplate;

/**
 * A Jetty with the Probe twice: below /app with Jetty's own sessions in memory, below /spring with those of Spring Session in
 * a database that all share.
 *
 * <p>{@code EmbeddedJetty server PORT WORKER-NAME DATABASE-PORT} or {@code EmbeddedJetty database PORT}; says when it is ready.
 */
public final class EmbeddedJetty {
  private EmbeddedJetty() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments[0].equals("database")) {
      org.h2.tools.Server.createTcpServer("-tcpPort", arguments[1], "-ifNotExists").start();
      new ResourceDatabasePopulator(new ClassPathResource("org/springframework/session/jdbc/schema-h2.sql"))
          .execute(database(arguments[1]));
    } else {
      start(Integer.parseInt(arguments[1]), arguments[2], database(arguments[3]));
    }
    System.out.println("embedded " + arguments[0] + " is ready");
  }

  private static void start(int port, String workerName, DataSource database) throws Exception {
    Server server = new Server(new InetSocketAddress("127.0.0.1", port));
    DefaultSessionIdManager ids = new DefaultSessionIdManager(server);
    ids.setWorkerName(workerName);
    server.addBean(ids, true);
    ServletContextHandler own = context("/app");
    ServletContextHandler spring = context("/spring");
    spring.addFilter(
        new FilterHolder(new SessionRepositoryFilter<>(repository(database))), "/*", EnumSet.of(DispatcherType.REQUEST));
    server.setHandler(new ContextHandlerCollection(own, spring));
    server.start();
  }

  private static ServletContextHandler context(String path) {
    ServletContextHandler context = new ServletContextHandler(path, ServletContextHandler.SESSIONS);
    context.addServlet(new ServletHolder(new Probe()), "/*");
    return context;
  }

  private static JdbcIndexedSessionRepository repository(DataSource database) {
    return new JdbcIndexedSessionRepository(
        new JdbcTemplate(database), new TransactionTemplate(new DataSourceTransactionManager(database)));
  }

  private static DataSource database(String port) {
    JdbcDataSource database = new JdbcDataSource();
    database.setURL("jdbc:h2:tcp://127.0.0.1:" + port + "/mem:sessions;DB_CLOSE_DELAY=-1");
    return database;
  }
}
