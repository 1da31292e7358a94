"""The data sets that the CycleGAN paper's authors publish.

Their counts, sizes and checksums are those that TensorFlow Datasets (cycle_gan 2.0.0) has recorded
of the archives of these names at their earlier address, and where the pictures come from is told by
the reference code's docs/datasets.md. No licence is stated there.
"""

from dataclasses import dataclass

ADDRESS = "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{name}.zip"
FOLDERS = ("trainA", "trainB", "testA", "testB")

_NO_LICENCE = "unknown, none is stated"
_FROM_IMAGENET = f"{_NO_LICENCE}; pictures from ImageNet"
_FROM_FLICKR = f"{_NO_LICENCE}; photographs from Flickr"
_FROM_WIKIART = f"{_NO_LICENCE}; paintings from WikiArt, photographs from Flickr"


@dataclass(frozen=True)
class KnownSet:
    """A data set that can be had by its name."""

    name: str
    a: str
    """What domain A shows."""
    b: str
    size: int
    """Of the archive, in bytes."""
    sha256: str
    counts: dict[str, int]
    """Pictures by folder; none where nobody has told."""
    licence: str
    note: str = ""

    @property
    def url(self) -> str:
        """Where its publishers keep it."""
        return ADDRESS.format(name=self.name)


def _known(
    name: str,
    a: str,
    b: str,
    counts: tuple[int, int, int, int],
    size: int,
    sha256: str,
    licence: str,
    note: str = "",
) -> KnownSet:
    by_folder = dict(zip(FOLDERS, counts, strict=True))
    return KnownSet(name, a, b, size, sha256, by_folder, licence, note)


KNOWN_SETS = {
    known.name: known
    for known in (
        _known(
            *("horse2zebra", "horses", "zebras", (1067, 1334, 120, 140), 116867962),
            "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
            _FROM_IMAGENET,
        ),
        _known(
            *("apple2orange", "apples", "oranges", (995, 1019, 266, 248), 78456409),
            "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8",
            _FROM_IMAGENET,
        ),
        _known(
            *("summer2winter_yosemite", "summer", "winter", (1231, 962, 309, 238), 132640856),
            "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
            _FROM_FLICKR,
        ),
        _known(
            *("monet2photo", "Monet's paintings", "photographs"),
            *((1072, 6287, 121, 751), 305231073),
            "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04",
            _FROM_WIKIART,
        ),
        _known(
            *("cezanne2photo", "Cézanne's paintings", "photographs"),
            *((525, 6287, 58, 751), 279885071),
            "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff",
            _FROM_WIKIART,
        ),
        _known(
            *("ukiyoe2photo", "ukiyo-e prints", "photographs"),
            *((562, 6287, 263, 751), 292946532),
            "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08",
            _FROM_WIKIART,
        ),
        _known(
            *("vangogh2photo", "van Gogh's paintings", "photographs"),
            *((400, 6287, 400, 751), 306590349),
            "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff",
            _FROM_WIKIART,
            "testA holds the paintings of trainA: scores against them are scores on training data",
        ),
        _known(
            *("iphone2dslr_flower", "flowers by telephone", "flowers by camera"),
            *((1812, 3325, 569, 480), 339964458),
            "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113",
            _FROM_FLICKR,
        ),
        _known(
            *("maps", "aerial photographs", "maps", (1096, 1096, 1098, 1098), 1476754427),
            "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e",
            f"{_NO_LICENCE}; pictures from Google Maps",
        ),
        _known(
            *("facades", "photographs of façades", "their labels", (400, 400, 106, 106), 35135868),
            "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0",
            f"{_NO_LICENCE}; pictures of the CMP Facade Database",
        ),
    )
}
