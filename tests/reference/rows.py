"""Rows of text by Python's own formatting."""


def tracks_jsonl(head, track_ids, class_ids, names, scores, boxes_xyxy):
    return "".join(
        f'{head}{track_id}, "class_id": {class_id}, "class": {names[class_id]}, "score": {score:.4f}, '
        f'"box_xyxy": [{x1:.2f}, {y1:.2f}, {x2:.2f}, {y2:.2f}]}}\n'
        for track_id, class_id, score, (x1, y1, x2, y2) in _sorted(track_ids, class_ids, scores, boxes_xyxy)
    )


def detections_jsonl(head, class_ids, names, scores, boxes_xyxy):
    return "".join(
        f'{head}{class_id}, "class": {names[class_id]}, "score": {score:.4f}, '
        f'"box_xyxy": [{x1:.2f}, {y1:.2f}, {x2:.2f}, {y2:.2f}]}}\n'
        for class_id, score, (x1, y1, x2, y2) in zip(
            class_ids.tolist(), scores.tolist(), boxes_xyxy.tolist(), strict=True
        )
    )


def mot(number, track_ids, scores, boxes_xyxy):
    return "".join(
        f"{number},{track_id},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
        for track_id, score, (x1, y1, x2, y2) in _sorted(track_ids, scores, boxes_xyxy)
    )


def _sorted(track_ids, *columns):
    order = sorted(range(len(track_ids)), key=lambda i: track_ids[i])
    return [(int(track_ids[i]), *(column[i].tolist() for column in columns)) for i in order]
