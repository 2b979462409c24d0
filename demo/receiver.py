#!/usr/bin/env python3
"""The receiver of the demo: takes outbound webhooks and verifies them with the official Standard Webhooks library.

receiver.py SECRET      prints its port, then one JSON line per delivery until it is stopped
"""

import http.server
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def main():
    webhook = Webhook(sys.argv[1])

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                event = webhook.verify(body, dict(self.headers.items()))
                line = {"verified": True, "id": self.headers["webhook-id"], "type": event["type"]}
                self.send_response(204)
            except WebhookVerificationError as refusal:
                line = {"verified": False, "why": str(refusal)}
                self.send_response(401)
            self.end_headers()
            print(json.dumps(line), flush=True)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
