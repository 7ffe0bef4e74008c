# talk.pl SOCKET SECONDS: sends standard input to a socket of HAProxy's and prints the answer.
use strict;
use warnings;
use IO::Socket::UNIX;

my ($path, $seconds) = @ARGV;
local $/;
local $SIG{ALRM} = sub { die "$path: no answer within $seconds s\n" };
alarm $seconds;
my $socket = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!\n";
print $socket <STDIN>;
$socket->shutdown(1);
print <$socket>;
