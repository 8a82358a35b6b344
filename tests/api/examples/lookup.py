import anyio
import dhtd


async def main() -> None:
    async with dhtd.connect() as dht:
        async for endpoint in dht.lookup("wiki"):
            print(endpoint, "is", endpoint.host, "on port", endpoint.port)


anyio.run(main)
