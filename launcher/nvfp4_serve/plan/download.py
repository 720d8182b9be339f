"""What has to be downloaded before a model of the Hub can be served. Pure."""

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.host.types import Host
from nvfp4_serve.units import format_bytes


def download_bytes(layout: Layout, host: Host, downloaded: int) -> int:
    """Return the bytes of weights that are still to be fetched; 0 for a folder.

    Args:
        layout: The checkpoint.
        host: The machine.
        downloaded: Bytes of it that the Hub's cache holds already.

    Raises:
        DoesNotFitError: The disk of the Hub's cache has less room.
    """
    if layout.folder is not None:
        return 0
    missing = max(0, layout.weight_bytes - downloaded)
    if host.hub_free is not None and missing > host.hub_free:
        raise DoesNotFitError(
            f"{layout.model} does not fit the disk that the Hub's cache is on.",
            evidence=(
                f"weights      {format_bytes(layout.weight_bytes)}",
                f"there        {format_bytes(downloaded)}",
                f"free         {format_bytes(host.hub_free)}",
                f"missing      {format_bytes(missing - host.hub_free)}",
            ),
            fix="Free some space, or set HF_HUB_CACHE to a folder on a larger disk.",
        )
    return missing
