"""Documents, queries and relevance judgements, all named by ``ir_datasets`` ids.

The first time an id is opened, the modules of ``sources`` register theirs: the embedded collections (``stdlib``,
``packages-pinned``), local folders (``folder:<path>``), data sets of Hugging Face (``hf:<where>``), PeerQA
(``peerqa:<directory>/<unit>``), DPR's questions (``dpr-qas:<file>``), Cranfield with corrected grades
(``cranfield-graded``) and samples of any collection (``sample:<documents>:<queries>:<id>``).
"""
