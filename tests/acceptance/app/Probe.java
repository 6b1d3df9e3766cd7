import jakarta.servlet.annotation.WebServlet;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.StringJoiner;

/**
 * Says as JSON what the application sees of a request. The same class runs in Open Liberty, Tomcat and Jetty.
 *
 * <p>GET /count counts in the session, GET /who touches no session, GET /held?name=X&until=FILE says in the log that it is
 * there and answers when the file exists, POST /echo gives the body back.
 */
@WebServlet("/*")
public final class Probe extends HttpServlet {
  private static final long serialVersionUID = 1L;
  private static final int HELD_MS = 60_000; // so that nothing hangs where a test failed
  private static final int STEP_MS = 20;

  @Override
  protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String session = "null";
    int count = 0;
    switch (String.valueOf(request.getPathInfo())) {
      case "/count":
        HttpSession own = request.getSession();
        session = quoted(own.getId());
        synchronized (Probe.class) {
          Integer before = (Integer) own.getAttribute("count");
          count = before == null ? 1 : before + 1;
          own.setAttribute("count", count);
        }
        break;
      case "/held":
        System.out.println("held " + request.getParameter("name"));
        hold(Path.of(request.getParameter("until")));
        break;
      case "/who":
        break;
      default:
        response.sendError(HttpServletResponse.SC_NOT_FOUND);
        return;
    }
    answer(response, "application/json", seen(request, session, count).getBytes(StandardCharsets.UTF_8));
  }

  @Override
  protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
    answer(response, "application/octet-stream", request.getInputStream().readAllBytes());
  }

  private static void hold(Path until) {
    try {
      for (int waited = 0; waited < HELD_MS && !Files.exists(until); waited += STEP_MS) {
        Thread.sleep(STEP_MS);
      }
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
  }

  private static void answer(HttpServletResponse response, String type, byte[] body) throws IOException {
    response.setContentType(type);
    response.setContentLength(body.length);
    response.setHeader("X-Member", System.getProperty("wsproxy.member"));
    response.getOutputStream().write(body);
  }

  private static String seen(HttpServletRequest request, String session, int count) {
    StringJoiner headers = new StringJoiner(",", "{", "}");
    for (String name : Collections.list(request.getHeaderNames())) {
      StringJoiner values = new StringJoiner(",", "[", "]");
      for (String value : Collections.list(request.getHeaders(name))) {
        values.add(quoted(value));
      }
      headers.add(quoted(name.toLowerCase()) + ":" + values);
    }
    return "{\"member\":" + quoted(System.getProperty("wsproxy.member"))
        + ",\"count\":" + count
        + ",\"session\":" + session
        + ",\"requested_session\":" + quoted(request.getRequestedSessionId())
        + ",\"scheme\":" + quoted(request.getScheme())
        + ",\"is_secure\":" + request.isSecure()
        + ",\"remote_address\":" + quoted(request.getRemoteAddr())
        + ",\"server_name\":" + quoted(request.getServerName())
        + ",\"server_port\":" + request.getServerPort()
        + ",\"headers\":" + headers + "}";
  }

  private static String quoted(String text) {
    if (text == null) {
      return "null";
    }
    StringBuilder made = new StringBuilder("\"");
    for (char each : text.toCharArray()) {
      if (each < ' ' || each > '~' || each == '"' || each == '\\') {
        made.append(String.format("\\u%04x", (int) each));
      } else {
        made.append(each);
      }
    }
    return made.append('"').toString();
  }
}
