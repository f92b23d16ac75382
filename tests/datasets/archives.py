"""Small archives in the layout of the official downloads."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat


def jpeg(shade: int, width: int = 40, height: int = 30) -> bytes:
    """A grey image; the lowest 20 rows are white."""
    pixels = np.full((height, width, 3), shade, np.uint8)
    pixels[-20:] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_tar(file: Path, files: Mapping[str, bytes]) -> None:
    """A tar file, compressed as its name says."""
    mode: Any = "w:gz" if file.name.endswith("gz") else "w"
    with tarfile.open(file, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_zip(file: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def matlab(**variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def cells(*texts: str) -> np.ndarray:
    """A MATLAB cell array of texts."""
    array = np.empty((len(texts), 1), dtype=object)
    array[:, 0] = texts
    return array


def records(*rows: Mapping[str, Any]) -> np.ndarray:
    """A MATLAB array of structs."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for number, row in enumerate(rows):
        array[0, number] = tuple(row.values())
    return array


CUB = {
    "images.txt": "1 001.Black_footed_Albatross/a.jpg\n2 001.Black_footed_Albatross/b.jpg\n"
    "3 002.Laysan_Albatross/c.jpg\n",
    "train_test_split.txt": "1 1\n2 0\n3 1\n",
    "bounding_boxes.txt": "1 6.0 2.0 25.5 20.0\n2 1.0 1.0 9.0 8.0\n3 0.0 0.0 4.0 4.0\n",
    "parts/parts.txt": "1 back\n2 left eye\n",
    "parts/part_locs.txt": "1 1 7.0 8.5 1\n1 2 0.0 0.0 0\n2 2 3.0 4.0 1\n",
    "image_class_labels.txt": "1 1\n2 1\n3 2\n",
}


def write_cub(folder: Path, **changed: str) -> None:
    files = {f"CUB_200_2011/{name}": text.encode() for name, text in (CUB | changed).items()}
    for shade, name in enumerate(("001.Black_footed_Albatross/a", "001.Black_footed_Albatross/b",
                                  "002.Laysan_Albatross/c")):  # fmt: skip
        files[f"CUB_200_2011/images/{name}.jpg"] = jpeg(10 * shade)
    files["attributes.txt"] = b"1 has_bill_shape::curved\n"
    write_tar(folder / "CUB_200_2011.tgz", files)


def write_aircraft(folder: Path) -> None:
    data = "fgvc-aircraft-2013b/data"
    files = {
        f"{data}/images_variant_trainval.txt": b"0034309 707-320\n0056978 F/A-18\n",
        f"{data}/images_variant_test.txt": b"0062765 Model B200\n",
        f"{data}/images_box.txt": b"0034309 3 2 20 8\n0056978 1 1 40 10\n0062765 5 5 9 9\n",
    }
    for number in ("0034309", "0056978", "0062765"):
        files[f"{data}/images/{number}.jpg"] = jpeg(90)
    write_tar(folder / "fgvc-aircraft-2013b.tar.gz", files)


def car(name: str, number: int, key: str = "fname", **more: Any) -> dict[str, Any]:
    box = {"bbox_x1": 3, "bbox_y1": 4, "bbox_x2": 12, "bbox_y2": 23}
    return {key: name} | box | {"class": number} | more


NAMES = cells("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012")


def write_cars(folder: Path) -> None:
    """The devkit's release; the images as Kaggle packs them."""
    meta, train = matlab(class_names=NAMES), records(car("00001.jpg", 2), car("00002.jpg", 1))
    devkit = {"devkit/cars_meta.mat": meta,
              "devkit/cars_train_annos.mat": matlab(annotations=train)}  # fmt: skip
    write_tar(folder / "car_devkit.tgz", devkit)
    test = matlab(annotations=records(car("00001.jpg", 1)))
    (folder / "cars_test_annos_withlabels.mat").write_bytes(test)
    write_zip(folder / "archive.zip", {
        "cars_train/cars_train/00001.jpg": jpeg(1), "cars_train/cars_train/00002.jpg": jpeg(2),
        "cars_test/cars_test/00001.jpg": jpeg(3),
    })  # fmt: skip


def write_cars_in_one_list(folder: Path) -> None:
    rows = records(*(
        car(f"car_ims/00000{n}.jpg", label, "relative_im_path", test=test)
        for n, label, test in ((1, 2, 0), (2, 1, 0), (3, 1, 1))
    ))  # fmt: skip
    (folder / "cars_annos.mat").write_bytes(matlab(annotations=rows, class_names=NAMES))
    write_tar(folder / "car_ims.tgz", {f"car_ims/00000{n}.jpg": jpeg(n) for n in (1, 2, 3)})


DOGS = ("n02085620-Chihuahua/n02085620_7", "n02085620-Chihuahua/n02085620_8",
        "n02116738-African_hunting_dog/n02116738_9")  # fmt: skip


def write_dogs(folder: Path) -> None:
    lists = {
        f"{split}_list.mat": matlab(file_list=cells(*(f"{name}.jpg" for name in names)))
        for split, names in (("train", DOGS[::2]), ("test", DOGS[1:2]))
    }
    write_tar(folder / "lists.tar", lists)
    write_tar(folder / "images.tar", {f"Images/{name}.jpg": jpeg(50) for name in DOGS})
    xml = b"<object><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>23</ymax></object>"
    write_tar(folder / "annotation.tar", {f"Annotation/{name}": xml for name in DOGS[:2]})
