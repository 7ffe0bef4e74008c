# shellcheck shell=sh
# Every server's limits follow from REQUEST_SECONDS and UPLOAD_MAX_MB. Each start script reads this file.
# tests/unit/test_consistency_timeouts.py checks the order of the times. # remove_template

export REQUEST_SECONDS="${REQUEST_SECONDS:-20}" UPLOAD_MAX_MB="${UPLOAD_MAX_MB:-10}"
# The pages of SLOW_PATHS have a limit and workers of their own.
export SLOW_REQUEST_SECONDS="${SLOW_REQUEST_SECONDS:-300}" SLOW_CONCURRENCY="${SLOW_CONCURRENCY:-2}"
# With a space between them; empty where there are none.
SLOW_PREFIXES=$(echo "${SLOW_PATHS:-}" | tr -s ' ,' ' ' | sed 's/^ //; s/ $//')
longest=$REQUEST_SECONDS
[ -z "$SLOW_PREFIXES" ] || longest=$SLOW_REQUEST_SECONDS
export SLOW_PREFIXES

# From the inside out: uWSGI or gunicorn ends a request after REQUEST_SECONDS, with the process that runs it. The
# servers before it wait a little longer, so that only a process or a machine that hangs lets them give up.
export NGINX_SECONDS=$((REQUEST_SECONDS + 5))
export APACHE_SECONDS=$((REQUEST_SECONDS + 8)) # remove_apache
# HAProxy, nginx as the balancer, and the nginx of an Elastic Beanstalk instance.
export BALANCER_SECONDS=$((REQUEST_SECONDS + 10))
# A balancer's own inner connection, which ends after the outer one.
export INNER_SECONDS=$((REQUEST_SECONDS + 15))
# The same three for a slow page.
export SLOW_NGINX_SECONDS=$((SLOW_REQUEST_SECONDS + 5))
export SLOW_BALANCER_SECONDS=$((SLOW_REQUEST_SECONDS + 10))
export SLOW_INNER_SECONDS=$((SLOW_REQUEST_SECONDS + 15))
# The nginx of an Elastic Beanstalk instance has one limit for all pages. # remove_beanstalk
export INSTANCE_SECONDS=$((longest + 10)) # remove_beanstalk

# A stop or a reload: a server has GRACE seconds for its last requests; after STOP seconds supervisor kills it.
export NGINX_GRACE_SECONDS=$((longest + 8))
export NGINX_STOP_SECONDS=$((longest + 10))
# nginx has ended: what a worker still does, no client waits for.
export APP_STOP_SECONDS=$((REQUEST_SECONDS + 5))
export APACHE_GRACE_SECONDS=$((REQUEST_SECONDS + 12)) # remove_apache
export BALANCER_GRACE_SECONDS=$((longest + 40))

# The largest file, and the form around it.
export BODY_MAX_BYTES=$(((UPLOAD_MAX_MB + 1) * 1024 * 1024))

# nginx_limits SECONDS: what an nginx that waits SECONDS for an answer includes.
nginx_limits() {
    cat <<END
client_max_body_size $BODY_MAX_BYTES;
proxy_read_timeout ${1}s;
proxy_send_timeout ${1}s;
map '' \$upload_limit { default ': the limit is $UPLOAD_MAX_MB MB'; }
END
}

# nginx_slow_locations: what a server's nginx includes, a location for each of SLOW_PATHS.
nginx_slow_locations() {
    for prefix in $(echo "$SLOW_PREFIXES" | tr ' ' '\n' | sort -u); do
        cat <<END
location ^~ $prefix {
    proxy_read_timeout ${SLOW_NGINX_SECONDS}s;
    proxy_send_timeout ${SLOW_NGINX_SECONDS}s;
    include /srv/project/nginx/forward.conf;
    # As nginx understands the path, like that of any other page.
    proxy_pass http://slow$prefix;
}
END
    done
}
