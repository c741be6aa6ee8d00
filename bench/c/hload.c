// hload: closed-loop HTTP/1.1 load over TCP or unix socket, keep-alive or a new connection per request.
// usage: hload [-c conns] [-d seconds] [-n] [-H 'Header: v'] [-w warm_seconds] (unix:/path | host:port) /path
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
typedef struct { int fd, sent, got, hdr, need, close; uint64_t t0; char buf[65536]; } C;
static struct sockaddr_in sin_; static struct sockaddr_un sun_; static int isun, ep, newc, src = 2; static char req[8192]; static int rlen;
static uint64_t now(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000ull+t.tv_nsec;}
static uint32_t *lat; static long nlat, caplat=8000000, errs, bad; static uint64_t tw, tend;
static void begin(C*c){c->sent=c->got=c->hdr=c->need=0;c->t0=now();}
static int conn(C*c){
  c->fd=socket(isun?AF_UNIX:AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0); if(c->fd<0){perror("socket");exit(1);} 
  begin(c); int r;
  if(isun) r=connect(c->fd,(void*)&sun_,sizeof sun_);
  else { int one=1; setsockopt(c->fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
    if(newc){setsockopt(c->fd,IPPROTO_IP,24/*IP_BIND_ADDRESS_NO_PORT*/,&one,sizeof one);struct sockaddr_in b={.sin_family=AF_INET};b.sin_addr.s_addr=htonl(0x7f000000u+src);if(++src>250)src=2;bind(c->fd,(void*)&b,sizeof b);} 
    r=connect(c->fd,(void*)&sin_,sizeof sin_);} 
  if(r<0&&errno!=EINPROGRESS){errs++;close(c->fd);c->fd=-1;return -1;}
  struct epoll_event e={.events=EPOLLIN|EPOLLOUT|EPOLLET,.data.ptr=c}; epoll_ctl(ep,EPOLL_CTL_ADD,c->fd,&e); return 0;}
static void reopen(C*c){if(c->fd>=0)close(c->fd);for(int i=0;i<50;i++){if(conn(c)==0)return;usleep(200);} fprintf(stderr,"cannot connect\n");exit(1);}
static void done(C*c){uint64_t t=now(); if(t>=tw&&nlat<caplat)lat[nlat++]=(t-c->t0)/1000; if(strncmp(c->buf+9,"200",3))bad++;}
static void go(C*c){
  for(;;){
    while(c->sent<rlen){ssize_t n=write(c->fd,req+c->sent,rlen-c->sent);if(n<0){if(errno==EAGAIN||errno==ENOTCONN)return;errs++;reopen(c);return;}c->sent+=n;}
    ssize_t n=read(c->fd,c->buf+c->got,sizeof c->buf-1-c->got);
    if(n<0){if(errno==EAGAIN)return;errs++;reopen(c);return;}
    if(n==0){ if(newc&&c->hdr&&c->got>=c->need){done(c);} else errs++; reopen(c); return;}
    c->got+=n;c->buf[c->got]=0;
    if(!c->hdr){char*p=strstr(c->buf,"\r\n\r\n");if(p){c->hdr=p+4-c->buf;char*q=strcasestr(c->buf,"\r\ncontent-length:");c->need=c->hdr+(q&&q<p?atoi(q+17):0);}}
    if(c->hdr&&c->got>=c->need&&!newc){done(c);begin(c);ssize_t n=write(c->fd,req,rlen);if(n>0)c->sent=n;if(c->sent==rlen)return;} 
  }}
static int cmp(const void*a,const void*b){uint32_t x=*(uint32_t*)a,y=*(uint32_t*)b;return x<y?-1:x>y;}
int main(int ac,char**av){int nc=16,o;double d=2,w=0.3;char hd[6000]="";
  while((o=getopt(ac,av,"c:d:nH:w:"))>0)switch(o){case'c':nc=atoi(optarg);break;case'd':d=atof(optarg);break;case'n':newc=1;break;case'w':w=atof(optarg);break;case'H':strcat(hd,optarg);strcat(hd,"\r\n");break;}
  char*a=av[optind],*path=av[optind+1];
  if(!strncmp(a,"unix:",5)){isun=1;sun_.sun_family=AF_UNIX;strcpy(sun_.sun_path,a+5);} else {char*p=strchr(a,':');sin_.sin_family=AF_INET;sin_.sin_port=htons(atoi(p+1));sin_.sin_addr.s_addr=htonl(0x7f000001);} 
  rlen=sprintf(req,"GET %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n",path,isun?"localhost":a,newc?"Connection: close\r\n":"",hd);
  ep=epoll_create1(0);lat=malloc(caplat*4);C*cs=calloc(nc,sizeof(C));uint64_t s=now();tw=s+w*1e9;tend=tw+d*1e9;
  for(int i=0;i<nc;i++){cs[i].fd=-1;reopen(&cs[i]);}
  struct epoll_event ev[256];while(now()<tend){int n=epoll_wait(ep,ev,256,100);for(int i=0;i<n;i++)go(ev[i].data.ptr);}
  double el=(now()-tw)/1e9;qsort(lat,nlat,4,cmp);if(!nlat){printf("{\"rps\":0,\"errs\":%ld}\n",errs);return 1;}
  printf("{\"rps\":%.0f,\"p50\":%u,\"p99\":%u,\"p999\":%u,\"max\":%u,\"n\":%ld,\"errs\":%ld,\"non200\":%ld}\n",nlat/el,lat[nlat/2],lat[(long)(nlat*.99)],lat[(long)(nlat*.999)],lat[nlat-1],nlat,errs,bad);return 0;}
