#!/usr/bin/env python3
"""The platform of the demo, in place of Zoom: serves a recording over HTTP and sends signed webhooks about it.

platform.py serve FILE                              prints its port, then serves until it is stopped
platform.py send URL --secret S --recording URL --at MS [--forge]     prints "STATUS BODY"
"""

import argparse
import hashlib
import hmac
import http.server
import json
import os
import sys
import time
import urllib.error
import urllib.request


def serve(path):
    body = open(path, "rb").read()

    class Recording(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "video/webm")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recording)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def send(args):
    """Signs as Zoom does: HMAC-SHA256 over v0:timestamp:body."""
    body = json.dumps({
        "event": "recording.completed",
        "event_ts": args.at,
        "payload": {
            "account_id": "zoom-account-1",
            "object": {
                "uuid": "4444AAAiAAAAAiAiAiiAii==",
                "topic": "Reading circle, chapter one",
                "duration": 1,
                "recording_files": [
                    {"id": "ed6c2f27", "file_type": "MP4", "status": "completed", "download_url": args.recording}
                ],
            },
        },
    }).encode()
    timestamp = str(int(time.time()))
    key = (args.secret + ("-forged" if args.forge else "")).encode()
    signature = hmac.new(key, b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    request = urllib.request.Request(args.url, body, {
        "Content-Type": "application/json",
        "x-zm-request-timestamp": timestamp,
        "x-zm-signature": "v0=" + signature,
    })
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            print(answer.status, answer.read().decode())
    except urllib.error.HTTPError as refusal:
        print(refusal.code, refusal.read().decode())


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve").add_argument("file")
    sending = commands.add_parser("send")
    sending.add_argument("url")
    sending.add_argument("--secret", required=True)
    sending.add_argument("--recording", required=True)
    sending.add_argument("--at", type=int, required=True)
    sending.add_argument("--forge", action="store_true")
    args = parser.parse_args()
    if args.command == "serve":
        serve(args.file)
    else:
        send(args)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(0)
    except BrokenPipeError:
        sys.exit(0)
