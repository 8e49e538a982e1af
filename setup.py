"""Package metadata. TensorFlow comes by an extra, because its CPU and GPU wheels differ in name."""

from pathlib import Path

from setuptools import find_packages, setup

BASE = [
    "keras>=3.11.3,<4",
    "numpy>=1.26,<2.1",
    "netCDF4>=1.7",
    "click>=8.1",
    "PyYAML>=6",
    "dacite>=1.9",
    "tqdm>=4.66",
]
EXTRAS = {
    "cpu": ["tensorflow-cpu==2.18.1"],
    "gpu": ["tensorflow[and-cuda]==2.18.1"],
    "hpc": ["horovod==0.28.1", "mpi4py>=4.1"],
    "verify": ["scores>=2", "pysteps>=1.21", "opencv-python-headless>=4.10"],
    "plot": ["matplotlib>=3.8"],
    "convert": ["h5py>=3.11"],
    "flood": ["pyflwdir>=0.5.10", "pyproj>=3.6", "scores>=2"],
    "landcover": ["scikit-learn>=1.5", "rasterio>=1.4"],
    "regions": ["scikit-learn>=1.5"],
    "grib": ["xarray>=2024.1", "cfgrib>=0.9.14", "eccodes>=2.37"],
    "spark": ["pyspark==3.5.*", "pyarrow>=14"],
    "tensorboard": ["tensorboard>=2.18,<2.19"],
    "dev": [
        "pytest>=8",
        "pytest-cov>=5",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.6",
        "mypy>=1.10",
        "import-linter>=2",
        "compliance-checker>=6",
        "types-PyYAML",
        "types-tqdm",
    ],
}

setup(
    name="hvd_nowcast",
    version="0.1.0",
    description="Radar nowcasting, flood and land-cover networks trained with Horovod over MPI",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["hvd_nowcast", "hvd_nowcast.*"]),
    package_data={
        "hvd_nowcast": ["py.typed"],
        "hvd_nowcast.pretrained": ["*.json", "*.yaml", "*.md", "weights/*"],
    },
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["hvd-nowcast = hvd_nowcast.cli:main"]},
)
