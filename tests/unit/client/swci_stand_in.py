"""A web mode that answers what it is told to, and remembers what arrived."""

import json
import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PEERS = "get taskrunner peer status"


class StandIn:
    """Serves plain HTTP while it is entered.

    ``says(command, *answers)``: each answer is a list of lines, or bytes as the whole body; the
    last one stays. Without any a command answers ``ok``. ``closed`` can be acquired once for every
    connection that the server has closed.
    """

    def __init__(self):
        self.commands = []
        self.uploads = []
        self.paths = []
        self.connections = 0
        self.closed = threading.Semaphore(0)
        self.close_after = False
        self.upload_status, self.upload_text = 200, "stored"
        self._answers = defaultdict(deque)

    def says(self, command, *answers):
        self._answers[command] = deque(answers)

    def answer_to(self, command):
        answers = self._answers[command]
        if not answers:
            return {"CONTENT": ["ok"]}
        answer = answers[0] if len(answers) == 1 else answers.popleft()
        return answer if isinstance(answer, bytes) else {"CONTENT": answer}

    def __enter__(self):
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                stand_in.connections += 1

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                stand_in.paths.append(self.path)
                if self.path == "/uploadTaskDef":
                    stand_in.uploads.append((self.headers["content-type"], body))
                    self.reply(stand_in.upload_status, stand_in.upload_text.encode())
                    return
                command = unquote(self.path.removeprefix("/exec?cmd="))
                stand_in.commands.append(command)
                told = stand_in.answer_to(command)
                self.reply(200, told if isinstance(told, bytes) else json.dumps(told).encode())

            def reply(self, status, text):
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                self.close_connection = stand_in.close_after

            def log_message(self, *_args):
                pass

        class Server(ThreadingHTTPServer):
            def shutdown_request(self, request):
                super().shutdown_request(request)
                stand_in.closed.release()

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
