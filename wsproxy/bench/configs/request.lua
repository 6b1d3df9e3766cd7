-- What wrk sends: browser-like requests of many sessions, the clone ids in turn. Placeholders (at sign + braces) are
-- filled by wsproxy/bench/render.py. Requests are formatted once, so that wrk spends its core on traffic; there is no
-- response() function, which would cost wrk a Lua call and a table of headers for each answer.

local visits = {  -- Host, path, Cookie, answer
@{visit_lines}
}
local upload = @{upload}  -- nil: no body
local requests = {}
local position = 0

function init(args)
@{header_lines}
    for i, visit in ipairs(visits) do
        wrk.headers["Host"] = visit[1]
        wrk.headers["Cookie"] = visit[3]
        wrk.headers["X-Bench"] = visit[4]
        requests[i] = wrk.format("@{method}", visit[2], wrk.headers, upload)
    end
end

function request()
    position = position % #requests + 1
    return requests[position]
end

-- One line that a program reads; wrk's own text rounds to three digits
function done(summary, latency, _)
    io.write(string.format(
        '@{marker}{"requests":%d,"duration_us":%d,"body_and_head_bytes":%d,"connect_errors":%d,"read_errors":%d,' ..
        '"write_errors":%d,"status_errors":%d,"timeouts":%d,"p50_us":%d,"p99_us":%d}\n',
        summary.requests, summary.duration, summary.bytes, summary.errors.connect, summary.errors.read,
        summary.errors.write, summary.errors.status, summary.errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
