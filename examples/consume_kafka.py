#!/usr/bin/env python3
"""Receives records from Kafka: drops doubles by their id, and prints a line about each.

    examples/consume_kafka.py [BROKER[,BROKER]] [TOPIC] [--group NAME] [--user USER --password-env VARIABLE] [--ca FILE] [--json]

Needs confluent-kafka (Debian: python3-confluent-kafka). Receivers of one group share the records between them, those of one
camera always to the same; the brokers keep how far the group has come. That is told to them once records are safe, and not
before: what was read and not yet told comes again.
"""

import argparse
import json
import os
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException


def settings(options):
    """What the client is made with."""
    found = {
        "bootstrap.servers": options.brokers,
        "group.id": options.group,
        "enable.auto.commit": False,
        # A new group begins with the oldest record that is kept.
        "auto.offset.reset": "earliest",
        "security.protocol": ("sasl_" if options.user else "") + ("ssl" if options.tls or options.ca else "plaintext"),
    }
    if options.ca:
        found["ssl.ca.location"] = options.ca
    if options.user:
        found["sasl.mechanisms"] = options.sasl.upper()
        found["sasl.username"] = options.user
        found["sasl.password"] = os.environ[options.password_env] if options.password_env else ""
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("brokers", nargs="?", default="127.0.0.1:9092")
    arguments.add_argument("topic", nargs="?", default="vigil", help="a name, or a pattern that begins with ^")
    arguments.add_argument("--group", default="vigil-example")
    arguments.add_argument("--user")
    arguments.add_argument("--password-env", metavar="VARIABLE", help="the variable that holds the password")
    arguments.add_argument("--sasl", choices=("plain", "scram-sha-256", "scram-sha-512"), default="plain")
    arguments.add_argument("--tls", action="store_true", help="use TLS, and trust whom the system trusts")
    arguments.add_argument("--ca", metavar="FILE", help="use TLS, and trust this authority")
    arguments.add_argument("--seconds", type=float, help="end after so long")
    arguments.add_argument("--json", action="store_true", help="print each record instead of a line about it")
    options = arguments.parse_args()
    end = time.monotonic() + options.seconds if options.seconds else float("inf")
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))

    seen, doubles = set(), 0
    consumer = Consumer(settings(options))
    consumer.subscribe([options.topic], on_assign=lambda *_: print("reading", file=sys.stderr, flush=True))
    while not stopped and time.monotonic() < end:
        messages = consumer.consume(500, timeout=0.5)
        for message in messages:
            if message.error():
                print(message.error().str(), file=sys.stderr, flush=True)
                continue
            # As a header, so that nobody needs to read the record for it. Other formats have none.
            headers = dict(message.headers() or [])
            name = headers.get("id")
            if name in seen:
                doubles += 1
                continue
            if name is not None:
                seen.add(name)
            text = message.value().decode(errors="replace")
            where, kind = (message.key() or b"?"), headers.get("kind", b"?")
            print(text if options.json else f"{where.decode()}: {kind.decode()}, {about(text)}", flush=True)
        if any(not message.error() for message in messages):
            try:
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                # The group was shared out anew, perhaps: who has the records now reads them again.
                print(f"not committed: {error}", file=sys.stderr, flush=True)
    consumer.close()
    print(f"{len(seen)} records, {doubles} doubles dropped")


def about(text):
    """What is told of a record."""
    try:
        record = json.loads(text)
        return f"{record.get('time')}: {record.get('event') or record.get('about') or len(record['objects'])}"
    except (ValueError, AttributeError, KeyError, TypeError):
        return "of another format"


if __name__ == "__main__":
    main()
