"""Accuracy of exported bundles, clean and under attack: what is measured is what is served.

A :class:`~training.evaluation.line.Line` is one attack as it is written in a table. Run on one bundle behind
one defence it is a :class:`~training.evaluation.measurement.Measurement`, whose outcome is known image by
image, so that worst cases, tables and curves are put together from outcomes that are measured once
(:mod:`training.evaluation.runner`) and kept (:mod:`training.evaluation.ledger`).
"""
