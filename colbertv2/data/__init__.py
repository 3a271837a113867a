"""Documents, queries and judgements: everything downstream speaks ``ir_datasets`` ids.

Every module of ``sources`` is registered when the first id is opened: the embedded collection (``stdlib``), local
folders (``folder:<path>``), PeerQA (``peerqa:<directory>/<unit>``), DPR's questions (``dpr-qas:<file>``), Cranfield
with its grades the right way round (``cranfield-graded``) and samples of any collection
(``sample:<documents>:<queries>:<id>``).
"""
