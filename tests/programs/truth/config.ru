# A hop of a chain for puma, with the next service's port in TRUTH_NEXT.
# What a path means stands in xtask/src/truth/path.rs.
require 'net/http'

NEXT = Integer(ENV.fetch('TRUTH_NEXT'))
IDLE = Queue.new
WORK = Queue.new

def fetch(connections, path)
  if connections == 'fresh'
    Net::HTTP.start('127.0.0.1', NEXT, nil) { |http| http.get(path, 'Connection' => 'close') }
    return
  end
  http = begin
    IDLE.pop(true)
  rescue ThreadError
    Net::HTTP.start('127.0.0.1', NEXT, nil).tap { |new| new.keep_alive_timeout = 60 }
  end
  http.get(path)
  IDLE << http
end

$until = 0.0
$row = nil
def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

8.times { Thread.new { loop { WORK.pop.call } } }
Thread.new do
  (1..).each do |number|
    sleep 0.005
    next if now > $until

    connections, row = $row
    fetch(connections, "/#{connections}/direct/#{row}.tick#{Process.pid}-#{number}.0/0")
  end
end

run(lambda do |env|
  _, connections, modes, tag, hop = env['PATH_INFO'].split('/')
  mode, rest = modes.split('-', 2)
  call = ->(number) { fetch(connections, "/#{connections}/#{rest || 'direct'}/#{tag}/#{hop}.#{number}") }
  case mode
  when 'after'
    env['rack.after_reply'] << -> { fetch(connections, "/#{connections}/direct/#{tag}~#{hop}/0") }
  when 'twice'
    call.(0)
    call.(1)
  when 'parallel'
    [0, 1].map { |number| Thread.new { call.(number) } }.each(&:join)
  when 'thread'
    Thread.new { call.(0) }.join
  when 'handoff'
    done = Queue.new
    WORK << -> { done << call.(0) }
    done.pop
  when 'sleep'
    sleep rand / 50
    call.(0)
  else
    $row, $until = [connections, tag.split('.')[0]], now + 0.1 if mode == 'timer'
    call.(0)
  end
  [200, { 'Content-Length' => '3' }, ["ok\n"]]
end)
