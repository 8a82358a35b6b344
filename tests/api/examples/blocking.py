import dhtd
from dhtd.errors import DaemonUnreachable, NoAnswer

try:
    with dhtd.connect_blocking(timeout=5) as dht, dht.serve("backup", 9000):
        print([str(endpoint) for endpoint in dht.lookup("backup")])
        print(dht.status().state)
except DaemonUnreachable as error:
    print("no daemon:", error)
except NoAnswer:
    print("nobody answers, so nobody knows")
