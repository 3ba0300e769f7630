#!/usr/bin/env python3
"""Receives records over HTTP: a server to which `vigilexport uri=http://HOST:PORT/records` posts, with nothing but Python.

    examples/consume_http.py [PORT] [--file OUT.jsonl]

Each POST holds records as JSON lines, compressed with gzip. Only answer 2xx once the records are safe: until then the
exporter keeps them. They may come twice, so look at their ids.
"""

import argparse
import gzip
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST = 16 * 1024 * 1024


class Receiver(BaseHTTPRequestHandler):
    """Takes records."""

    protocol_version = "HTTP/1.1"
    seen = set()
    out = None

    def do_POST(self):
        """Writes the records of one request, each id once, and acknowledges them."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MOST:
            self.send_error(413 if length else 411)
            return
        body = self.rfile.read(length)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for line in body.splitlines():
            record = json.loads(line)
            if record.get("id") not in self.seen:
                self.seen.add(record.get("id"))
                print(line.decode(), file=self.out)
        self.out.flush()
        if self.out is not sys.stdout:
            os.fsync(self.out.fileno())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Says nothing about each request."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("port", nargs="?", type=int, default=8080)
    arguments.add_argument("--file", help="write records here instead of to standard output")
    options = arguments.parse_args()
    Receiver.out = open(options.file, "a", encoding="utf-8") if options.file else sys.stdout
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Receiver)
    print(f"listening on port {server.server_port}", file=sys.stderr, flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
