import anyio
import dhtd


async def main() -> None:
    async with dhtd.connect() as dht, dht.serve("chat", 7000):
        async for change in dht.watch("chat"):
            for endpoint in change.added:
                print("+", endpoint)
            for endpoint in change.removed:
                print("-", endpoint)
            if change.endpoints:
                break


anyio.run(main)
