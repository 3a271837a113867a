"""Documents, queries and judgements: everything downstream speaks ``ir_datasets`` ids.

Importing this package registers the embedded collection (``stdlib``), local folders (``folder:<path>``), PeerQA
(``peerqa:<directory>/<unit>``), DPR's questions (``dpr-qas:<file>``), Cranfield with its grades the right way round
(``cranfield-graded``) and samples of any collection (``sample:<documents>:<queries>:<id>``).
"""

from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.qrels import Qrels
from colbertv2.data.queries import Queries
from colbertv2.data.sources import cranfield, embedded, folder, peerqa, questions, sample

for each in (cranfield, embedded, folder, peerqa, questions, sample):
    each.register()

__all__ = ["Collection", "File", "Qrels", "Queries"]
