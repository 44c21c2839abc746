"""What may stand before an Ethereum client: a proxy with TLS and passwords, or a mistake."""

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Front:
    """An HTTP server on loopback; use as a context.

    Args:
        behind: URL that it hands requests on to; empty: it answers ``body``.
        status: of its own answers.
        authorization: header that it asks for.
        tls: context that it serves https with.
    """

    def __init__(self, behind="", *, status=200, body=b"", authorization="", tls=None):
        self.behind, self.status, self.body, self.authorization = (
            behind,
            status,
            body,
            authorization,
        )
        self.seen = []
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                asked = self.rfile.read(int(self.headers["Content-Length"]))
                front.seen.append((self.path, self.headers.get("Authorization", "")))
                status, body = front.answer(asked, self.headers.get("Authorization", ""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def answer(self, asked, authorization):
        if self.authorization and authorization != self.authorization:
            return 401, b"who are you?"
        if not self.behind:
            return self.status, self.body
        request = urllib.request.Request(self.behind, asked, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as found:
            return found.status, found.read()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
