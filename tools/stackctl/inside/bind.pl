# bind.pl: reads lines of an address and a port, and prints those that HAProxy could not bind, with the reason.
#
# Binds as HAProxy does, next to the sockets of the same user's running process, and never listens: so no connection
# comes here.
use strict;
use warnings;
use Errno;
use IO::Socket::IP;

while (<STDIN>) {
    my ($host, $port) = split;
    my %options = (LocalHost => $host, LocalPort => $port, Proto => 'tcp', ReuseAddr => 1, ReusePort => 1);
    next if IO::Socket::IP->new(%options);
    print "$host $port $!\n" if $!{EADDRNOTAVAIL} || $!{EADDRINUSE} || $!{EACCES};
}
