"""NumPy twin of the dense solver: Jonker & Volgenant 1987, with their order of scanning."""

import numpy as np


def linear_assignment(cost):
    """Pairs (row, column) of least cost, in rows. A matrix that is not square is filled up with zeros."""
    n, m = cost.shape
    k = max(n, m)
    c = np.zeros((k, k))
    c[:n, :m] = cost
    v = c.min(axis=0)
    column_row = c.argmin(axis=0)
    row_column = np.full(k, -1)
    contested = np.zeros(k, bool)
    for j in reversed(range(k)):
        i = column_row[j]
        if row_column[i] < 0:
            row_column[i] = j
        else:
            contested[i] = True
            column_row[j] = -1
    free = [i for i in range(k) if row_column[i] < 0]
    for i in range(k):
        if row_column[i] >= 0 and not contested[i] and k > 1:
            v[row_column[i]] -= np.delete(c[i] - v, row_column[i]).min()
    for _ in range(2):
        free = _reduce_rows(c, v, row_column, column_row, free)
    for i in free:
        _augment(c, v, row_column, column_row, i)
    return [(i, int(row_column[i])) for i in range(n) if row_column[i] < m]


def _reduce_rows(c, v, row_column, column_row, free):
    queue, remaining, done, tries = list(free), [], 0, 0
    while queue:
        i = queue.pop(0)
        done, tries = done + 1, tries + 1
        reduced = c[i] - v
        order = np.argsort(reduced, kind="stable")
        first, second = order[0], order[1] if len(order) > 1 else -1
        gap = reduced[second] - reduced[first] if second >= 0 else np.inf
        price, loser = v[first] - gap, column_row[first]
        if tries < done * len(c) and price < v[first]:
            v[first] = price
            if loser >= 0:
                queue.insert(0, loser)
                done -= 1
        else:
            if tries < done * len(c) and loser >= 0 and second >= 0:
                first, loser = second, column_row[second]
            if loser >= 0:
                remaining.append(loser)
        row_column[i], column_row[first] = first, i
    return remaining


def _augment(c, v, row_column, column_row, start):
    k = len(c)
    order, previous, distance = list(range(k)), [start] * k, c[start] - v
    low = high = 0
    end = -1
    while end < 0:
        if low == high:
            settled, least, high = low, distance[order[low]], low + 1
            for at in range(high, k):
                j = order[at]
                if distance[j] <= least:
                    if distance[j] < least:
                        least, high = distance[j], low
                    order[at], order[high] = order[high], j
                    high += 1
            end = next((j for j in reversed(order[low:high]) if column_row[j] < 0), -1)
        while end < 0 and low < high:
            j = order[low]
            low += 1
            i = column_row[j]
            through = c[i, j] - v[j] - least
            for at in range(high, k):
                j = order[at]
                reduced = c[i, j] - v[j] - through
                if reduced < distance[j]:
                    distance[j], previous[j] = reduced, i
                    if reduced == least:
                        if column_row[j] < 0:
                            end = j
                            break
                        order[at], order[high] = order[high], j
                        high += 1
    for j in order[:settled]:
        v[j] += distance[j] - least
    j = end
    while True:
        i = previous[j]
        column_row[j] = i
        row_column[i], j = j, row_column[i]
        if i == start:
            return
