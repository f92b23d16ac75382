"""Tables: the extensions of images that are read, of pictures that are not, and of other files.

`docs/formats.md` shows the first two; a test compares them.
"""

READ = {
    "JPEG": "jpg jpeg jpe jfif jif jfi pjpeg pjp mpo jps",
    "PNG": "png apng",
    "WebP": "webp",
    "BMP": "bmp dib",
    "TIFF": "tif tiff",
    "GIF": "gif",
    "HEIC": "heic heif hif heics heifs",
    "AVIF": "avif avifs",
    "JPEG XL": "jxl",
    "camera raw": "3fr arw bay cr2 cr3 crw dcr dcs dng drf erf fff gpr iiq k25 kdc mef mos mrw nef "
    "nrw orf pef raf rw2 rwl sr2 srf srw x3f",
}
DECODERS = {"HEIC": "pi_heif", "JPEG XL": "pillow_jxl", "camera raw": "rawpy"}  # besides Pillow
NOT_READ = {
    "Photoshop": "psd psb",
    "GIMP": "xcf",
    "Krita": "kra",
    "OpenRaster": "ora",
    "Affinity Photo": "afphoto",
    "Paint.NET": "pdn",
    "SVG": "svg svgz",
    "EPS": "eps",
    "Illustrator": "ai",
    "Windows metafile": "wmf emf",
    "JPEG 2000": "jp2 j2k j2c jpc jpf jpx jpm jph",
    "JPEG XR": "jxr wdp hdp",
    "Targa": "tga",
    "OpenEXR": "exr",
    "Radiance HDR": "hdr",
    "Netpbm": "ppm pgm pbm pnm pam pfm",
    "icon": "ico icns",
    "DDS": "dds",
    "PCX": "pcx",
    "BPG": "bpg",
    "FLIF": "flif",
    "QOI": "qoi",
    "MNG": "mng jng",
    "PICT": "pict pct",
    "SGI": "sgi",
    "DICOM": "dcm dicom",
    "FITS": "fits fts",
    "microscope slide": "svs ndpi scn mrxs czi lif nd2",
}
ARCHIVES = frozenset(
    ".tar .tgz .tbz .tbz2 .txz .tzst .zip .zipx .7z .rar .cbz .cbr .cb7 .cbt".split()
)
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# Never opened to see whether they hold an image: sidecars, videos, sound, text, tables, code.
_NO_IMAGE = (
    "xmp aae pp3 dop thm lrv ctg cot cop cos lrprev lrcat nksc vrd on1 "
    "mov mp4 m4v avi mkv webm mpg mpeg mts m2ts 3gp wmv flv insv mp3 wav m4a aac flac ogg opus "
    "txt md rst html htm xml json jsonl csv tsv yaml yml toml ini cfg log nfo pdf doc docx xls "
    "xlsx ppt pptx odt gpx kml srt vtt db sqlite npy npz pt pth safetensors onnx pkl parquet arrow "
    "h5 hdf5 mat tfrecord lmdb mdb py ipynb js css c h cpp java sh bat ps1 exe dll so lnk url "
    "desktop ttf otf woff woff2 icc icm cube cls caption lock sha256 md5 tmp temp part partial "
    "crdownload download opdownload filepart aria2 swp"
)


def _by_extension(table: dict[str, str]) -> dict[str, str]:
    return {f".{name}": format_ for format_, names in table.items() for name in names.split()}


FORMAT_BY_EXTENSION = _by_extension(READ)
EXTENSIONS = frozenset(FORMAT_BY_EXTENSION)
NOT_READ_BY_EXTENSION = _by_extension(NOT_READ)
NO_IMAGE = frozenset(_by_extension({"": _NO_IMAGE}))
