"""Plotly's figures in a page that needs no network: the library and the figures, compressed, in one script.

Plotly's script has 4.8 MB, and the figures of a search with a thousand trials have three more. MLflow keeps a page for
each search and sends it at each look, so both are compressed (gzip, as base64): a third of the size. Browsers since
2023 unpack them by themselves.
"""

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

_SCRIPT = """
<script>
(async () => {
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const library = document.createElement("script");
  library.textContent = await unpack("LIBRARY");
  document.head.append(library);
  const figures = JSON.parse(await unpack("FIGURES"));
  for (const [id, figure] of Object.entries(figures)) {
    Plotly.newPlot(id, figure.data, figure.layout, {responsive: true});
  }
})().catch((error) => {
  for (const place of document.querySelectorAll(".figure")) {
    place.textContent = `This browser cannot draw the figure: ${error}`;
  }
});
</script>
"""


def figure_place(name: str, height: int) -> str:
    """The element in which a figure is drawn.

    Args:
        name: of the figure in `figures_script`: letters, digits and hyphens.
        height: in pixels.
    """
    return f"<div class='figure' id='{name}' style='height:{height}px'></div>"


def figures_script(figures: "Mapping[str, go.Figure]") -> str:
    """The script that draws figures; it belongs at the end of the page's body.

    Args:
        figures: by the names of their places. Empty: there is no script.
    """
    if not figures:
        return ""
    trees = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    return _SCRIPT.replace("LIBRARY", _library()).replace("FIGURES", _pack(json.dumps(trees)))


@cache
def _library() -> str:
    from plotly.offline import get_plotlyjs

    return _pack(get_plotlyjs())


def _pack(text: str) -> str:
    # Without the time, so that equal pages have equal bytes.
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()
