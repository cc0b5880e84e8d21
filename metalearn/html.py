"""Pages of HTML that need no other file."""

from base64 import b64encode

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str) -> Environment:
    """Returns the environment of a page's template, which is in the folder of a package."""
    return Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_address(content: bytes, kind: str) -> str:
    """Encodes a file of a kind such as image/png as a data: address."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
