"""A long way to a server, in a process of its own: `python -m benchmarks.latency_proxy URL SECONDS`.

Whatever goes through is passed on as it is; but the first bytes of a request, which are those that come after an
answer, wait. It prints its own URL, and ends when its standard input does.
"""

import asyncio
import sys
from contextlib import suppress
from urllib.parse import urlsplit

_READ_BYTES = 256 * 1024


class Connection:
    """One connection of a client, and its other end."""

    def __init__(self, host: str, port: int, delay_s: float) -> None:
        self._address = host, port
        self._delay_s = delay_s
        self._is_answered = True

    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection(*self._address, limit=_READ_BYTES)
        try:
            asking = asyncio.ensure_future(self._ask(client_in, server_out))
            answering = asyncio.ensure_future(self._answer(server_in, client_out))
            _, left = await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
        finally:
            server_out.close()
            client_out.close()

    async def _ask(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await client.read(_READ_BYTES):
            if self._is_answered:
                self._is_answered = False
                await asyncio.sleep(self._delay_s)
            server.write(data)
            await server.drain()

    async def _answer(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await server.read(_READ_BYTES):
            self._is_answered = True
            client.write(data)
            await client.drain()


async def _run(url: str, delay_s: float) -> None:
    target = urlsplit(url)
    host, port = target.hostname or "localhost", target.port or 80

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await Connection(host, port, delay_s).serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_READ_BYTES, backlog=128)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], float(sys.argv[2])))
