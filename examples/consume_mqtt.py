#!/usr/bin/env python3
"""Receives records over MQTT: drops doubles by their id, notices gaps, and prints what came.

    examples/consume_mqtt.py [HOST [PORT [PREFIX]]] [--seconds N] [--json]

Needs paho-mqtt (Debian: python3-paho-mqtt). A receiver that must not miss anything while it is away asks the broker for
a session that lasts (a client id of its own, clean_session=False) and QoS 1; both are done here.
"""

import argparse
import json
import signal
import sys
import threading

import paho.mqtt.client as mqtt


class Records:
    """What has come: each record once, in the order of its camera's numbers."""

    def __init__(self):
        self.seen = set()
        self.doubles = 0
        self.last = {}
        self.gaps = 0
        self.disorder = 0

    def take(self, record):
        """Whether the record is new."""
        name = record["id"]
        if name in self.seen:
            self.doubles += 1
            return False
        self.seen.add(name)
        run, number = name.rsplit("/", 1)
        # Events overtake frames after an outage: order is kept among records of one kind.
        key = (run, "event" in record)
        self.disorder += int(number) < self.last.get(key, -1)
        self.last[key] = int(number)
        return True

    def missing(self):
        """Numbers that have not come of each exporter's run."""
        numbers = {}
        for name in self.seen:
            run, number = name.rsplit("/", 1)
            numbers.setdefault(run, set()).add(int(number))
        return sum(max(of_run) + 1 - len(of_run) for of_run in numbers.values())


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("host", nargs="?", default="127.0.0.1")
    arguments.add_argument("port", nargs="?", type=int, default=1883)
    arguments.add_argument("prefix", nargs="?", default="vigil")
    arguments.add_argument("--seconds", type=float, help="end after so long")
    arguments.add_argument("--json", action="store_true", help="print each record instead of a line about it")
    options = arguments.parse_args()

    records = Records()

    def on_connect(client, _data, _flags, code, *_):
        print(f"connected: {mqtt.connack_string(code)}", file=sys.stderr, flush=True)
        client.subscribe(f"{options.prefix}/#", qos=1)

    def on_message(_client, _data, message):
        try:
            record = json.loads(message.payload)
        except ValueError:
            print(f"{message.topic}: not JSON", file=sys.stderr)
            return
        if "id" not in record:
            # The exporter's own state, kept by the broker: online or offline.
            print(f"{message.topic}: {record.get('state')}", flush=True)
        elif records.take(record):
            if options.json:
                print(json.dumps(record), flush=True)
            elif "event" in record:
                print(f"{record['time']} {record['camera']}: {record['event']}", flush=True)

    # paho-mqtt 2 wants to be told which callbacks it is given; version 1 knows no others.
    first = (mqtt.CallbackAPIVersion.VERSION1,) if hasattr(mqtt, "CallbackAPIVersion") else ()
    client = mqtt.Client(*first, client_id="vigil-example", clean_session=False)
    client.on_connect, client.on_message = on_connect, on_message
    client.reconnect_delay_set(min_delay=1, max_delay=5)
    client.connect_async(options.host, options.port)
    client.loop_start()
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    end.wait(options.seconds)
    client.loop_stop()
    client.disconnect()
    print(
        f"{len(records.seen)} records, {records.doubles} doubles dropped, {records.missing()} missing, "
        f"{records.disorder} out of order"
    )


if __name__ == "__main__":
    main()
