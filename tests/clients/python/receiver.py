"""An OTLP receiver over HTTP for metrics that clients pushed about themselves.

usage: receiver.py FOLDER. Writes its port to FOLDER/port, and to FOLDER/pushed one line for each
library and metric the first time it sees them: the library's name, a space, the metric's name.
Both are found by their bytes in the protobuf; the server's own metrics have neither.
"""

import http.server
import pathlib
import re
import signal
import sys

# An attribute of the resource: key, then a value that holds a text.
SOFTWARE = re.compile(rb"client_software_name\x12.\x0a.([\w.-]+)", re.DOTALL)
# The library's, and those of an application that adds its own.
METRIC = re.compile(rb"(?:org\.apache\.kafka|shop)\.[a-z.]+[a-z]")


class Receiver(http.server.BaseHTTPRequestHandler):
    seen = set()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for software in SOFTWARE.findall(body):
            for metric in METRIC.findall(body):
                self.note(f"{software.decode()} {metric.decode()}")
        # An empty answer is a success without a word about refused items.
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def note(self, line):
        if line not in self.seen:
            self.seen.add(line)
            with (folder / "pushed").open("a") as file:
                print(line, file=file)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
folder = pathlib.Path(sys.argv[1])
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
(folder / "port.new").write_text(str(server.server_port))
(folder / "port.new").rename(folder / "port")
server.serve_forever()
