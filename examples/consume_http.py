#!/usr/bin/env python3
"""Receives records over HTTP: a server to which `vigilexport uri=http://HOST:PORT/records` posts, with nothing but Python.

    examples/consume_http.py [PORT] [--listen ADDRESS] [--file OUT.jsonl]

Each POST holds records as JSON lines, compressed with gzip. Answer 2xx once the records are safe, and not before: until then
the exporter keeps them. Answer 400 only to what can never be taken: the exporter drops it. Records may come twice, so look at
their ids; those of the formats `deepstream` and `dlstreamer` have none to look at. There is no TLS and no login here: where
others reach it, put it behind a server that has both.
"""

import argparse
import gzip
import json
import os
import signal
import socket
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST = 16 * 1024 * 1024


def name_of(record):
    """What tells a record from all others, if anything does."""
    name = record.get("id") if isinstance(record, dict) else None
    return name if isinstance(name, str) else None


class Store:
    """Where records go, each id once."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.out = open(path, "a+b") if path else sys.stdout.buffer
        # For as long as this runs; one that runs for months would forget those that are older than the exporter's spool-age.
        self.seen = set()
        if path:
            self.remember()

    def remember(self):
        """Reads the ids of what an earlier run has written."""
        self.out.seek(0)
        line = b"\n"
        for line in self.out:
            try:
                self.seen.add(name_of(json.loads(line)))
            except ValueError:
                pass
        self.seen.discard(None)
        if not line.endswith(b"\n"):
            # The machine went down in the middle of it.
            self.out.write(b"\n")

    def take(self, lines, records):
        """Returns once the records are safe; only then their ids count as seen."""
        with self.lock:
            new = set()
            for line, record in zip(lines, records):
                name = name_of(record)
                if name in self.seen or name in new:
                    continue
                self.out.write(line + b"\n")
                if name is not None:
                    new.add(name)
            self.out.flush()
            if self.out is not sys.stdout.buffer:
                os.fsync(self.out.fileno())
            self.seen |= new


class Receiver(BaseHTTPRequestHandler):
    """Takes records."""

    protocol_version = "HTTP/1.1"
    store = None

    def do_POST(self):
        """Writes the records of one request, and acknowledges them."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST:
            self.send_error(413 if length.isdecimal() else 411)
            return
        body = self.rfile.read(int(length))
        try:
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            lines = body.splitlines()
            records = [json.loads(line) for line in lines]
        except (ValueError, EOFError, OSError, zlib.error, RecursionError) as error:
            self.send_error(400, explain=f"these are no records: {error}")
            return
        try:
            self.store.take(lines, records)
        except OSError as error:
            # The disk is full, perhaps: the exporter comes again.
            self.send_error(503, explain=f"nothing can be written: {error}")
            return
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Says nothing about each request."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("port", nargs="?", type=int, default=8080)
    arguments.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0 or :: for all of the machine's")
    arguments.add_argument("--file", help="write records here instead of to standard output")
    options = arguments.parse_args()
    Receiver.store = Store(options.file)
    if ":" in options.listen:
        ThreadingHTTPServer.address_family = socket.AF_INET6
    server = ThreadingHTTPServer((options.listen, options.port), Receiver)
    print(f"listening on port {server.server_port}", file=sys.stderr, flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
