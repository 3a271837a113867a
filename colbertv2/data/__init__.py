"""Documents, queries and judgements: everything downstream speaks ``ir_datasets`` ids.

Importing this package registers the embedded collection (``stdlib``), local folders (``folder:<path>``) and PeerQA
(``peerqa:<directory>/<unit>``).
"""

from colbertv2.data import embedded, folder, peerqa
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.qrels import Qrels
from colbertv2.data.queries import Queries

embedded.register()
folder.register()
peerqa.register()

__all__ = ["Collection", "File", "Qrels", "Queries"]
