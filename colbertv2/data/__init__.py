"""Documents, queries and judgements: everything downstream speaks ``ir_datasets`` ids.

Importing this package registers the embedded collection (``stdlib``), local folders (``folder:<path>``), samples of
other collections (``sample:<documents>:<queries>:<id>``) and DPR's questions (``dpr-qas:<file>``).
"""

from colbertv2.data import embedded, folder, questions, sample
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.qrels import Qrels
from colbertv2.data.queries import Queries

embedded.register()
folder.register()
questions.register()
sample.register()

__all__ = ["Collection", "File", "Qrels", "Queries"]
