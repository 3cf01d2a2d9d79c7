"""gRPC's own Python library, without generated code: messages are bytes.

grpc_service.py serve PORT MODEL [NEXT_PORT]     MODEL: sync, aio
grpc_service.py load PORT CALLS AT_ONCE KIND     prints each status, and how often it was seen

What the last part of a method's name means, up to a dot, stands in go_grpc/main.go: Echo, Fail, Chat, Many and Next.
"""

import asyncio
import collections
import concurrent.futures
import sys

import grpc


def kind_of(method):
    return method.rsplit("/", 1)[1].split(".")[0]


def ending_of(method):
    return method.rsplit("/", 1)[1].split(".", 1)[1]


class Sync(grpc.GenericRpcHandler):
    def __init__(self, channel):
        self.channel = channel

    def service(self, details):
        method = details.method
        kind = kind_of(method)

        def unary(message, context):
            if kind == "Fail":
                context.abort(grpc.StatusCode.NOT_FOUND, "not here")
            if kind == "Next":
                ask = self.channel.unary_unary("/test.Service/Echo." + ending_of(method))
                return ask(message)
            return message

        def stream(messages, context):
            for message in messages:
                for _ in range(10 if kind == "Many" else 1):
                    yield message

        if kind in ("Chat", "Many"):
            return grpc.stream_stream_rpc_method_handler(stream)
        if kind in ("Echo", "Fail", "Next"):
            return grpc.unary_unary_rpc_method_handler(unary)
        return None


class Aio(grpc.GenericRpcHandler):
    def __init__(self, channel):
        self.channel = channel

    def service(self, details):
        method = details.method
        kind = kind_of(method)

        async def unary(message, context):
            if kind == "Fail":
                await context.abort(grpc.StatusCode.NOT_FOUND, "not here")
            if kind == "Next":
                ask = self.channel.unary_unary("/test.Service/Echo." + ending_of(method))
                return await ask(message)
            return message

        async def stream(messages, context):
            async for message in messages:
                for _ in range(10 if kind == "Many" else 1):
                    yield message

        if kind in ("Chat", "Many"):
            return grpc.stream_stream_rpc_method_handler(stream)
        if kind in ("Echo", "Fail", "Next"):
            return grpc.unary_unary_rpc_method_handler(unary)
        return None


async def serve_aio(port, next_port):
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{next_port}") if next_port else None
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Aio(channel),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def serve(port, model, next_port):
    if model == "aio":
        asyncio.run(serve_aio(port, next_port))
        return
    channel = grpc.insecure_channel(f"127.0.0.1:{next_port}") if next_port else None
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Sync(channel),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def load(port, calls, at_once, kind):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def one(number):
        method, message = f"/test.Service/{kind}.{number}", b"m" * (10 + number % 100)
        try:
            if kind in ("Chat", "Many"):
                sent = [message] * (5 if kind == "Chat" else 1)
                for _ in channel.stream_stream(method)(iter(sent)):
                    pass
            else:
                channel.unary_unary(method)(message)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for status, count in collections.Counter(pool.map(one, range(calls))).items():
            print(status, count)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else None)
    else:
        load(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
