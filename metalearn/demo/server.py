"""Server of the page, on this machine alone.

It keeps nothing: each request holds its whole task.
"""

import asyncio
import socket
from pathlib import Path

from PIL import Image, ImageOps
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from uvicorn import Config, Server

from metalearn.data.files.preparation import Preparation
from metalearn.demo.strokes import Strokes, rasterised, style_of
from metalearn.demo.task import LARGEST, MOST_CLASSES, MOST_DRAWINGS, task_of
from metalearn.formats import one_line
from metalearn.html import image_address
from metalearn.learner import Learner

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"


class Recogniser:
    """Answers of a learner to tasks of drawings.

    Raises ValueError if its run has not seen drawn characters, or predicts no single one.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner, self.origin = learner, learner.trained.origin
        self.style = style_of(self.origin.dataset)
        assert isinstance(learner.trained.preparation, Preparation)  # these data sets have images
        self.input_shape = learner.trained.preparation.input_shape
        _, height, width = self.input_shape
        blank = Image.new("L", (width, height), "white")
        learner.fit([blank, blank], [0, 1]).predict([blank])

    async def run(self, request: Request) -> JSONResponse:
        """States what the page has to know."""
        way = self.learner.trained.algorithm.fixed_way
        made_by = f"{self.origin.network}, trained on {self.origin.dataset}"
        most = min(way or MOST_CLASSES, MOST_CLASSES)
        return JSONResponse({"made_by": made_by, "most_classes": most, "most_drawings": MOST_DRAWINGS})

    async def recognise(self, request: Request) -> JSONResponse:
        """Fits to the drawings, and predicts the new one.

        Nothing is awaited between the two, so requests never share a fit.
        """
        task = task_of(await body_of(request))
        self.learner.fit([self.image(drawing) for drawing in task.support], task.ways)
        query = self.image(task.query)
        (probabilities,) = self.learner.predict_proba([query])
        seen = image_address(ImageOps.invert(query), "png")
        return JSONResponse({"probabilities": probabilities.tolist(), "seen": seen})

    def image(self, strokes: Strokes) -> Image.Image:
        """Draws dark ink on white paper, as files of the data set have it."""
        _, height, width = self.input_shape
        return ImageOps.invert(Image.fromarray(rasterised(strokes, self.style, height, width)))


async def body_of(request: Request) -> bytes:
    """Reads the body of a request.

    Raises ValueError as soon as it is too large, and where the client or the server ends before it.
    """
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST:
                raise ValueError(f"the request is larger than {LARGEST:,} bytes")
    except (ClientDisconnect, asyncio.CancelledError) as error:
        raise ValueError(f"the request ends after {len(body):,} bytes") from error
    return bytes(body)


async def refuse(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": one_line(error)}, status_code=400)


def application(learner: Learner) -> Starlette:
    recogniser = Recogniser(learner)
    return Starlette(
        routes=[
            Route("/run", recogniser.run),
            Route("/recognise", recogniser.recognise, methods=["POST"]),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        # Pages of other sites cannot reach it under a name of theirs.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
        exception_handlers={ValueError: refuse},
    )


def listen(port: int) -> socket.socket:
    """Takes a port of this machine; 0 is any free one.

    Raises ValueError for a number that no port has, and OSError if the port is taken.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port {port} must be from 0 to 65535")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise OSError(f"port {port} is not free: choose another with --port N ({error})") from error


def server(learner: Learner) -> Server:
    """Builds the server. Raises ValueError if the learner knows no drawings."""
    return Server(Config(application(learner), log_level="warning", timeout_graceful_shutdown=1))


def serve(learner: Learner, port: int) -> None:
    """Serves the page until Ctrl-C. Raises ValueError or OSError, in one line."""
    ready = server(learner)
    with listen(port) as listening:
        print(f"draw at http://{HOST}:{listening.getsockname()[1]}, end with Ctrl-C", flush=True)
        ready.run(sockets=[listening])
