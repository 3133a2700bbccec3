"""What a frozen program needs of t5g: all of its modules, which are imported by name, and the bundled model.

Packages of extras are followed where they are small. Those below bring much with them that few programs need: who
converts, evaluates or serves in a frozen program names them with --hidden-import.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = collect_submodules("t5g", filter=lambda name: not name.startswith(("t5g._pyinstaller", "t5g._testing")))
excludedimports = ["pypdf", "ray", "rouge_score", "starlette", "tqdm", "uvicorn"]
datas = collect_data_files("t5g", includes=["data/*.gguf", "server/page/*"])
