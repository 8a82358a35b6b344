import anyio
import dhtd


async def main() -> None:
    async with dhtd.connect() as dht, dht.serve("cache", 6379), dht.serve("cache", 6380):
        async for change in dht.watch("cache"):
            if len(change.endpoints) < 2:
                continue
            ring = dhtd.HashRing(change.endpoints)
            for user in ("bob", "carol", "dave"):
                print(user, ring.node(f"user:{user}"))
            break


anyio.run(main)
