#!/usr/bin/env python3
"""Receives records over MQTT: drops doubles by their id, notices gaps, and prints a line about each.

    examples/consume_mqtt.py [HOST [PORT [PREFIX]]] [--client-id NAME] [--user USER --password-env VARIABLE] [--ca FILE] [--json]

Needs paho-mqtt (Debian: python3-paho-mqtt). A receiver that must not miss anything while it is away gives a client id of its
own: the broker then keeps what comes (QoS 1, a session that lasts) until it is back. Each receiver needs another one, since a
broker ends the connection of the earlier one of two.
"""

import argparse
import json
import os
import signal
import sys
import threading
import uuid

import paho.mqtt.client as mqtt

KINDS = ("alarm", "event", "frame", "telemetry")


class Records:
    """What has come: each record once, in the order of its exporter's numbers."""

    def __init__(self):
        self.seen = set()
        self.doubles = 0
        self.last = {}
        self.numbers = {}
        self.disorder = 0

    def take(self, name, kind):
        """Whether the record is new."""
        if name in self.seen:
            self.doubles += 1
            return False
        self.seen.add(name)
        run, number = name.rsplit("/", 1)
        self.numbers.setdefault(run, set()).add(int(number))
        # Alarms and events overtake frames after an outage: order is kept among records of one kind.
        self.disorder += int(number) < self.last.get((run, kind), -1)
        self.last[run, kind] = int(number)
        return True

    def missing(self):
        """Numbers of each exporter's run that have not come, between the first and the last that did."""
        return sum(max(those) - min(those) + 1 - len(those) for those in self.numbers.values())


def is_ours(record):
    """Whether a record is of Vigil's own format; others have no id to find doubles by."""
    return isinstance(record, dict) and str(record.get("schema")).startswith("vigil")


def about(record):
    """A line about a record."""
    where = record.get("camera") or record.get("site")
    if "event" in record:
        what = f"{record['event']} {record.get('object', record).get('label', '')}".rstrip()
    elif record.get("about"):
        what = f"telemetry of the {record['about']}"
    else:
        labels = [thing.get("label") for thing in record.get("objects", [])]
        counts = ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels), key=str))
        state = record.get("freshness", {}).get("state")
        what = f"frame {record.get('frame')}, {state}: {counts or 'no objects'}"
    return f"{record.get('time')} {where}: {what}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("host", nargs="?", default="127.0.0.1")
    arguments.add_argument("port", nargs="?", type=int, help="1883, or 8883 with TLS")
    arguments.add_argument("prefix", nargs="?", default="vigil")
    arguments.add_argument("--client-id", help="keep a session under this name")
    arguments.add_argument("--user")
    arguments.add_argument("--password-env", metavar="VARIABLE", help="the variable that holds the password")
    arguments.add_argument("--tls", action="store_true", help="use TLS, and trust whom the system trusts")
    arguments.add_argument("--ca", metavar="FILE", help="use TLS, and trust this authority")
    arguments.add_argument("--seconds", type=float, help="end after so long")
    arguments.add_argument("--json", action="store_true", help="print each record instead of a line about it")
    options = arguments.parse_args()
    tls = options.tls or options.ca
    records = Records()

    def on_connect(client, _data, _flags, code, *_):
        print(f"connected: {mqtt.connack_string(code)}", file=sys.stderr, flush=True)
        if code == 0:
            client.subscribe(f"{options.prefix}/#", qos=1)

    def on_message(_client, _data, message):
        kind = message.topic.rsplit("/", 1)[-1]
        try:
            record = json.loads(message.payload)
        except ValueError:
            print(f"{message.topic}: not JSON", file=sys.stderr, flush=True)
            return
        if is_ours(record) and not records.take(record["id"], kind):
            return
        if kind == "status":
            # The exporter's own state, kept by the broker: online or offline.
            print(f"{message.topic}: {record.get('state') if isinstance(record, dict) else record}", flush=True)
        elif options.json:
            print(json.dumps(record), flush=True)
        else:
            print(about(record) if is_ours(record) else f"{message.topic}: another format", flush=True)

    # paho-mqtt 2 wants to be told which callbacks it is given; version 1 knows no others.
    first = (mqtt.CallbackAPIVersion.VERSION1,) if hasattr(mqtt, "CallbackAPIVersion") else ()
    name = options.client_id or f"vigil-example-{uuid.uuid4().hex[:8]}"
    client = mqtt.Client(*first, client_id=name, clean_session=options.client_id is None)
    client.on_connect, client.on_message = on_connect, on_message
    client.reconnect_delay_set(min_delay=1, max_delay=5)
    if options.user:
        client.username_pw_set(options.user, os.environ[options.password_env] if options.password_env else None)
    if tls:
        client.tls_set(ca_certs=options.ca)
    client.connect_async(options.host, options.port or (8883 if tls else 1883))
    client.loop_start()
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    end.wait(options.seconds)
    client.loop_stop()
    client.disconnect()
    # Records of all kinds are numbered together: who takes one kind only cannot tell what is missing.
    missing = "?" if options.prefix.rsplit("/", 1)[-1] in KINDS else records.missing()
    print(
        f"{len(records.seen)} records, {records.doubles} doubles dropped, {missing} missing, "
        f"{records.disorder} out of order"
    )


if __name__ == "__main__":
    main()
