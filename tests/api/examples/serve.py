import anyio
import dhtd


async def main() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as server, dhtd.connect() as dht:
        port = server.extra(anyio.abc.SocketAttribute.local_port)
        async with dht.serve("notes", port) as entry:
            print("serving", entry.name, "on", len(entry.replicas), "nodes")
            print("found:", [endpoint.port == port async for endpoint in dht.lookup("notes")])
        print("found:", [endpoint async for endpoint in dht.lookup("notes")])


anyio.run(main)
