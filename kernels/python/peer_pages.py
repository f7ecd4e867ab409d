"""Pages as other libraries are told of them: what prepare makes."""


def lengths_of(call):
    """Of each sequence, on the host."""
    first = call.kv_page_indptr.tolist()
    last, size = call.kv_last_page_len.tolist(), call.problem.page_size
    return [max(0, (end - begin - 1) * size + rest) for begin, end, rest in zip(first, first[1:], last)]


def table_of(call):
    """A row of pages for each sequence, [B, most] i32, padded with page 0, as FlashAttention and XQA
    read it; and lengths [B] i32."""
    import torch
    first, entries = call.kv_page_indptr.tolist(), call.kv_page_indices.cpu()
    rows = [entries[begin:end] for begin, end in zip(first, first[1:])]
    table = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.int32)
    for row, pages in zip(table, rows):
        row[:len(pages)] = pages
    lengths = torch.tensor(lengths_of(call), dtype=torch.int32)
    return table.to(call.q.device), lengths.to(call.q.device)


def rows_kept(call):
    """The rows of the flat keys, [rows, D], that each query head keeps, i32 one list behind the other,
    and where lists begin, [B Hq + 1] i32, on the host. Keys of a page are P rows at (2 page Hkv + g) P;
    its values are Hkv P rows behind them."""
    import torch
    B, Hq, _ = call.sparse_ind.shape
    Hkv, P, Skv = call.problem.kv_heads, call.problem.page_size, call.problem.kv_len
    tokens, counts = call.sparse_ind.cpu().long(), call.sparse_nnz.cpu().long()
    heads = (torch.arange(Hq) // (Hq // Hkv)).view(1, Hq, 1)
    if P:
        first = call.kv_page_indptr.cpu().long()[:-1].view(B, 1, 1)
        entries = call.kv_page_indices.cpu().long()
        at = (first + tokens.clamp(min=0) // P).clamp(max=max(0, len(entries) - 1))
        page = entries[at] if len(entries) else torch.zeros_like(at)
        rows = (2 * page * Hkv + heads) * P + tokens % P
    else:
        rows = (torch.arange(B).view(B, 1, 1) * Hkv + heads) * Skv + tokens
    kept = torch.arange(tokens.shape[2]).view(1, 1, -1) < counts.unsqueeze(2)
    begin = torch.zeros(B * Hq + 1, dtype=torch.int32)
    begin[1:] = counts.flatten().cumsum(0)
    return rows[kept].int(), begin
